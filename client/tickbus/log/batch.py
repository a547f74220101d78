"""One message as a program gets it: columns first, rows only when asked for.

Needs nothing beyond msgspec; `columns` needs numpy, `to_polars` polars and pyarrow (tickbus[lake]).
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

import msgspec
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    SEQ_ID_ROWS,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    Message,
)
from tickbus_schemas.plain import texts

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars

_HEADER = frozenset(Header.__struct_fields__)
_PACKET = tuple(name for name, width in L2Batch.columns.items() if width.per == "rows")


class Batch:
    """A decoded message and its place in the log."""

    __slots__ = ("message", "seq", "stored_ns", "stream", "subject")

    def __init__(
        self, message: Message, subject: str, stream: str, seq: int, stored_ns: int
    ) -> None:
        self.message = message
        self.subject = subject
        """as stored, without `live.`"""
        self.stream = stream
        self.seq = seq
        """stream sequence"""
        self.stored_ns = stored_ns
        """when the server stored it, ns UTC"""

    def __repr__(self) -> str:
        return f"<Batch {self.subject} seq={self.seq} rows={len(self)}>"

    @property
    def exchange(self) -> Exchange:
        """The venue's market."""
        return Exchange(self.message.exchange)

    @property
    def ticker(self) -> str:
        """As the venue spells it."""
        return self.message.ticker

    def __len__(self) -> int:
        """Rows, as `rows` and `to_polars` give them: level rows of an L2Batch."""
        message = self.message
        return len(message.side) if isinstance(message, L2Batch) else codec.rows(message)

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """NumPy arrays over the message's own bytes, without a copy; read-only.

        Types as in `tickbus_schemas.messages`; L2 has packet columns and level columns, a book's
        prices and sizes are (rows, depth), a feature has its name.
        """
        import numpy as np

        message = self.message
        columns: dict[str, npt.NDArray[Any]] = {}
        for name, width in message.columns.items():
            column = np.frombuffer(
                getattr(message, name), "u1" if width.per == "text" else width.code
            )
            if width.per == "rows*depth" and isinstance(message, BookBatch):
                column = column.reshape(-1, message.depth)
            columns[name] = column
        if isinstance(message, FeatureBatch):
            for name, data in zip(message.names, message.values, strict=True):
                columns[name] = np.frombuffer(data, "<f8")
        return columns

    def rows(self) -> list[dict[str, Any]]:
        """Each row as a dict of Python values: times in us UTC, an absent value is None.

        Every row has exchange, ticker and seq_id; the rows of L2 are levels with the values of
        their packet. A message without columns is one row of its fields.
        """
        message = self.message
        first = self.seq * SEQ_ID_ROWS
        common = {"exchange": self.exchange.token, "ticker": message.ticker}
        if not message.columns:
            fields = msgspec.structs.asdict(message)
            own = {name: value for name, value in fields.items() if name not in _HEADER}
            return [{**common, "seq_id": first, **_without_absent(own)}]
        columns = self._lists()
        names = list(columns)
        return [
            {
                **common,
                "seq_id": first + row,
                **_without_absent(dict(zip(names, values, strict=True))),
            }
            for row, values in enumerate(zip(*columns.values(), strict=True))
        ]

    def _lists(self) -> dict[str, list[Any]]:
        """Columns as lists of one length."""
        message = self.message
        columns: dict[str, list[Any]] = {}
        for name, width in message.columns.items():
            if width.per in ("rows", "levels"):
                columns[name] = codec.column(getattr(message, name), width.code).tolist()
            elif width.per == "rows*depth" and isinstance(message, BookBatch):
                values = codec.column(getattr(message, name), width.code).tolist()
                depth = message.depth
                columns[name] = [values[at : at + depth] for at in range(0, len(values), depth)]
        for name in message.texts:
            columns[name] = texts(message, name)
        if isinstance(message, FeatureBatch):
            for name, data in zip(message.names, message.values, strict=True):
                columns[name] = codec.column(data, "<f8").tolist()
        elif isinstance(message, L2Batch):
            levels = columns.pop("levels")
            for name in _PACKET:
                if name != "levels":
                    values = columns[name]
                    columns[name] = [
                        value
                        for value, count in zip(values, levels, strict=True)
                        for _ in range(count)
                    ]
        return columns

    def to_polars(self) -> polars.DataFrame:
        """A DataFrame of the same rows; columns of the message are not copied.

        For L2 each packet's values are repeated for its levels, which copies them. A book's prices
        and sizes are array columns. A message without columns gives one row.
        """
        import polars as pl

        from tickbus.log.series import series_of, types_of

        if not self.message.columns:
            return pl.DataFrame(self.rows(), schema_overrides=types_of(type(self.message)))
        return pl.DataFrame({series.name: series for series in series_of(self.message)})


def _without_absent(row: dict[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if value == ABSENT or (isinstance(value, float) and isnan(value)):
            row[name] = None
    return row
