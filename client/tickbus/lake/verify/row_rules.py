"""Rules that the rows of a feed keep beyond their types: within a row, and from row to row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tickbus_schemas.messages import ABSENT, DerivativeField, InstrumentKind

from tickbus.lake.dataset_schema import Array, Column, from_arrow
from tickbus.lake.manifest import DataFile
from tickbus.lake.verify.findings import Findings

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
Span = tuple[str, int]
"""stream, and the number of a part of it in which every message was readable"""


def check_row_rules(
    root: Path, files: Sequence[DataFile], spans: dict[str, Span], gaps: Int64s, findings: Findings
) -> None:
    """Check the files of one ticker's feed, in log order.

    spans: by path, the part of the log that a file belongs to; a file whose block has unreadable
    messages has none and is skipped. gaps: `seq_id` of each gap row of this feed.
    """
    rule = RULES.get(files[0].feed)
    if rule is None:
        return
    before: dict[str, Array] = {}
    span: Span | None = None
    for file in files:
        last, span = span, spans.get(file.path)
        if span is None:
            continue
        if span != last:
            before = {}
        with pq.ParquetFile(root / file.path) as parquet:
            rows = _plain(parquet.read())
        for what, wrong in rule(rows, before, gaps):
            for row in np.flatnonzero(wrong).tolist():
                where = f"{file.ticker} seq_id {rows['seq_id'][row]}"
                findings.problem(file.feed, where, what)
        findings.facts[f"{file.feed} rows compared"] += file.rows
        before = {name: values[-1:] for name, values in rows.items()}


def _plain(table: pa.Table) -> dict[str, Array]:
    """The numeric columns of a table; absent values are ABSENT or NaN."""
    return {
        field.name: _numbers(Column(field.name, str(field.type), True), table[field.name])
        for field in table.schema
        if not pa.types.is_string(field.type)
    }


def _numbers(column: Column, values: Any) -> Array:
    kind = "float64" if column.type == "double" else column.type
    found = from_arrow(column._replace(type=kind), values)
    assert isinstance(found, np.ndarray)
    return found


def _merged(
    rows: dict[str, Array], before: dict[str, Array], gaps: Int64s
) -> list[tuple[str, Bools]]:
    """A value changes only with its bit in `fields`, or becomes absent when ingest starts again."""
    seq_id = np.concatenate((before.get("seq_id", rows["seq_id"][:0]), rows["seq_id"]))
    told = np.diff(np.searchsorted(gaps, seq_id)) > 0
    found = []
    for field in DerivativeField:
        name = str(field.name).lower()
        values, sent = rows[name], (rows["fields"] & field) != 0
        found.append((f"{name} is absent, though its frame sent it", sent & _absent(values)))
        joined = np.concatenate((before.get(name, values[:0]), values))
        old, new = joined[:-1], joined[1:]
        jumps = (old != new) & ~_absent(new) & ~sent[len(values) - len(new) :] & ~told
        wrong = np.zeros(len(values), np.bool_)
        wrong[len(values) - len(new) :] = jumps
        found.append((f"{name} differs from the row before, but was not sent", wrong))
    return found


def _absent(values: Array) -> Bools:
    absent: Bools = np.isnan(values) if values.dtype.kind == "f" else values == ABSENT
    return absent


def _of_order(
    rows: dict[str, Array], before: dict[str, Array], gaps: Int64s
) -> list[tuple[str, Bools]]:
    """A BUY closes a SHORT, a SELL a LONG."""
    return [("position_side does not fit its side", rows["position_side"] != -rows["side"])]


def _of_kind(
    rows: dict[str, Array], before: dict[str, Array], gaps: Int64s
) -> list[tuple[str, Bools]]:
    """Only options have a strike and a type; spot and perpetuals do not expire."""
    kind = rows["kind"]
    is_option = kind == InstrumentKind.OPTION
    is_endless = (kind == InstrumentKind.SPOT) | (kind == InstrumentKind.PERPETUAL)
    return [
        ("it is no option, but has a strike", ~is_option & ~_absent(rows["strike"])),
        ("option_type does not fit its kind", is_option != (rows["option_type"] != 0)),
        ("it has no end, but expires", is_endless & ~_absent(rows["expiry_timestamp"])),
    ]


RULES: dict[str, Callable[..., list[tuple[str, Bools]]]] = {
    "derivative": _merged,
    "liquidation": _of_order,
    "instrument": _of_kind,
}
"""By feed: a function that returns each fault and the rows that have it."""
