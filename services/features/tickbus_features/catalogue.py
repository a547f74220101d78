"""Layer 2: every named feature, one entry each. To add a feature, add its entry to `CATALOGUE`.

An entry is an expression over the columns of layer 1 (`LAYER_1`) and over entries before it; window
and warm-up follow from the expression (`Catalogue.rows_needed`). A value that cannot be computed
(warm-up, gap, empty side, division by zero) is null, never 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from tickbus_features.expression import (
    Column,
    Expression,
    Program,
    Window,
    parts,
    total,
    translate,
)

DEPTH = 10
"""levels a side that layer 1 holds"""

BAR_COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "taker_buy_volume",
    "taker_sell_volume",
    "signed_volume",
    "trade_count",
)
FLOW_COLUMNS = ("order_flow", "quote_count", "l2_count")
BOOK_COLUMNS = tuple(
    f"{side}_{kind}_{level}"
    for side in ("bid", "ask")
    for kind in ("px", "sz")
    for level in range(1, DEPTH + 1)
)
LAYER_1 = (*BAR_COLUMNS, *FLOW_COLUMNS, *BOOK_COLUMNS)
"""Columns of a closed bucket; those of a feed that is not whole in it are null.

Book columns: the last book before the bucket's end, best level first, price null and size 0 where
the side has no such level. `order_flow`: the contributions of every best-quote change, summed: of
the venue's own best quotes as soon as the log has one of the ticker, of the book's best levels
before and where there are none; a late change counts in the oldest open bucket. `quote_count`,
`l2_count`: those quotes and the book packets in the bucket."""

LAYER_1_VERSION = 1
"""Counts changes of what the kernels of layer 1 mean by a column."""


@dataclass(frozen=True)
class Feature:
    """A named value of a bucket."""

    name: str
    expression: Expression
    unit: str
    text: str
    source: str = ""
    published: bool = True
    """False: only a step for entries behind it"""


def _side(side: str, kind: str, levels: int) -> list[Column]:
    return [Column(f"{side}_{kind}_{level}") for level in range(1, levels + 1)]


_bid, _bid_size = Column("bid_px_1"), Column("bid_sz_1")
_ask, _ask_size = Column("ask_px_1"), Column("ask_sz_1")
_mid, _spread, _returns = Column("mid"), Column("spread"), Column("returns")

_GOULD = "Gould, Bonart 2016, Market Microstructure and Liquidity 2"
_CAO = "Cao, Hansch, Wang 2009, Journal of Futures Markets 29"
_CONT = "Cont, Kukanov, Stoikov 2014, Journal of Financial Econometrics 12(1)"


def _depth(levels: int) -> tuple[Feature, ...]:
    """Sizes of the best levels a side, and what they say together."""
    bid, ask = Column(f"_bid_depth_{levels}"), Column(f"_ask_depth_{levels}")
    return (
        Feature(bid.name, total(_side("bid", "sz", levels)), "base", "", published=False),
        Feature(ask.name, total(_side("ask", "sz", levels)), "base", "", published=False),
        Feature(
            f"imbalance_{levels}",
            (bid - ask) / (bid + ask),
            "1",
            f"size on the bid side less the ask side, {levels} best levels, of their sum",
            _CAO,
        ),
        Feature(
            f"liquidity_{levels}",
            bid + ask,
            "base",
            f"size of the {levels} best levels of both sides",
        ),
    )


def _queue_imbalance(level: int) -> Feature:
    bid, ask = Column(f"bid_sz_{level}"), Column(f"ask_sz_{level}")
    return Feature(
        f"queue_imb_{level}",
        (bid - ask) / (bid + ask),
        "1",
        f"size at bid level {level} less ask level {level}, of their sum",
        _GOULD,
    )


CATALOGUE: tuple[Feature, ...] = (
    Feature("mid", (_bid + _ask) / 2, "quote", "middle of best bid and best ask"),
    Feature("spread", _ask - _bid, "quote", "best ask less best bid"),
    Feature("spread_bps", 1e4 * _spread / _mid, "bps", "spread in hundredths of a percent of mid"),
    Feature("_weight", _bid_size / (_bid_size + _ask_size), "1", "", published=False),
    Feature(
        "weighted_mid",
        Column("_weight") * _ask + (1 - Column("_weight")) * _bid,
        "quote",
        "best prices weighted by the size on the other side",
        "Gatheral, Oomen 2010, Finance and Stochastics 14",
    ),
    *_depth(1),
    *_depth(5),
    *_depth(10),
    *(_queue_imbalance(level) for level in range(1, 6)),
    Feature(
        "ofi",
        Column("order_flow"),
        "base",
        "order flow imbalance: contributions of every best-quote change, summed",
        _CONT,
    ),
    Feature(
        "ofi_10",
        Column("ofi").sum(10),
        "base",
        "order flow imbalance of the last 10 buckets",
        _CONT,
    ),
    Feature(
        "returns",
        _mid.log() - Column("mid").shift(1).log(),
        "1",
        "log return of mid over one bucket",
    ),
    *(
        Feature(
            f"volatility_{buckets}",
            _returns.deviation(buckets),
            "1 a bucket",
            f"sample standard deviation of the last {buckets} returns, not annualised",
        )
        for buckets in (20, 100)
    ),
)


class Catalogue:
    """Entries, the program that computes them, and the hash that names them.

    grace_us: how long a bucket waits for late events; it belongs to what the values mean.
    """

    def __init__(self, entries: tuple[Feature, ...] = CATALOGUE, *, grace_us: int) -> None:
        self.entries = entries
        self.program: Program = translate(
            LAYER_1, [(entry.name, entry.expression) for entry in entries]
        )
        self.names = [entry.name for entry in entries if entry.published]
        self.published = [
            len(LAYER_1) + place for place, entry in enumerate(entries) if entry.published
        ]
        """where the published values stand among the program's values"""
        meaning = [f"layer 1 version {LAYER_1_VERSION}", f"grace {grace_us} us", *LAYER_1]
        meaning += [f"{entry.name} = {entry.expression} [{entry.unit}]" for entry in entries]
        self.hash = hashlib.sha256("\n".join(meaning).encode()).hexdigest()[:16]

    @cached_property
    def rows_needed(self) -> dict[str, int]:
        """Buckets until an entry can have a value: 1 needs no past, 21 are null for 20."""
        needed: dict[str, int] = dict.fromkeys(LAYER_1, 1)
        for entry in self.entries:
            needed[entry.name] = max(
                needed[part.column.name] + part.rows - 1
                if isinstance(part, Window)
                else needed[part.name]
                if isinstance(part, Column)
                else 1
                for part in parts(entry.expression)
            )
        return needed
