"""Compile every kernel once, so that no service pays for it at start.

Every package with kernels has a file `warm.py` like this one. Its `warm()` runs the kernels with
the types that they get at work; the package names it in the entry point group `tickbus.kernels`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BboBatch, Header, L2Batch, L2Flag, Message, TradeBatch

from tickbus.book.kernels import levels
from tickbus.book.orderbook import OrderBook
from tickbus.columns.assembler import Assembler
from tickbus.compiled import forget_old_caches
from tickbus.lake.verify.kernels import recompute
from tickbus.log.kernels.wire import KernelReader
from tickbus.log.stored import Stored

GROUP = "tickbus.kernels"

_EXCHANGE, _TICKER = next(iter(Exchange)), "WARM"
_VALUES: dict[str, Any] = {
    "flags": [int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)],
    "levels": [2],
    "side": [1, -1],
    "action": [1, 1],
    "price": [1.0, 2.0],
    "qty": [1.0, 1.0],
}
_TRADE_VALUES: dict[str, Any] = {"trade_id_offsets": [0, 1]}


def warm() -> None:
    """Run the client's kernels: bytes to messages, groups, every operation of the order book."""
    KernelReader()
    warm_groups()
    book = OrderBook()
    book.apply_batch(L2Batch(**_fields(L2Batch, 0, _VALUES)))
    many = np.arange(1_000, dtype=np.float64)  # more than a new book has room for: it grows
    book.apply(np.ones(len(many), np.int8), many, many)
    book.best()
    book.top(1)
    book.deeper_than(1)
    OrderBook.restore(book.dump()).depth(1.0)
    _recompute()


def _recompute() -> None:
    """As `verify` does: one packet of one level, and one book row to compare."""
    one, nothing = np.ones(1, np.int64), np.zeros(1, np.int64)
    packets = (one, one, one, one, np.arange(2), np.ones(1, np.int8), np.ones(1), np.ones(1))
    rows: tuple[Any, ...] = (one, one, one, np.ones((1, 4, 1)), nothing, nothing, np.zeros(1))
    recompute.compare(levels.new(), np.zeros(3, np.int64), *packets, True, *rows)


def warm_groups() -> None:
    """Run the kernels that make groups, as every reader of whole streams does."""
    messages: dict[str, Message] = {
        "trade": TradeBatch(**_fields(TradeBatch, 0, _TRADE_VALUES)),
        "l2": L2Batch(**_fields(L2Batch, 1, _VALUES)),
        "bbo": BboBatch(**_fields(BboBatch, 2, {})),
    }
    group = Assembler().add(
        [
            Stored(seq, seq, subjects.md(_EXCHANGE, _TICKER, feed), codec.encode(message))
            for seq, (feed, message) in enumerate(messages.items(), 1)
        ]
    )
    if group is None or group.rejected:
        raise AssertionError("the kernels refuse valid messages")


def _fields(kind: type[Header], message_no: int, values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a message of one row (one packet of two levels)."""
    columns = {
        name: np.array(values.get(name, [1]), width.code).tobytes()
        for name, width in kind.columns.items()
    }
    return {
        "exchange": int(_EXCHANGE),
        "ticker": _TICKER,
        "epoch": 0,
        "message_no": message_no,
        **columns,
    }


def main() -> None:
    """Fill the kernel cache and remove the caches of earlier sources; called by `make setup`."""
    warm()
    for point in sorted(entry_points(group=GROUP)):
        point.load()()
    forget_old_caches()


if __name__ == "__main__":
    main()
