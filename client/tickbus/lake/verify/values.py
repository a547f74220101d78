"""Whether a file has the columns of its feed, and only values that the feed allows.

The rules are those of the message's fields (`tickbus_schemas`): a file holds no value that the
codec refuses.
"""

from __future__ import annotations

import numpy as np
from tickbus_schemas.feeds import OF_NAME
from tickbus_schemas.values import CODES

from tickbus.lake.dataset_schema import Column, Rows, Text, columns
from tickbus.lake.verify.findings import Findings


class Values:
    """Checks a file's rows piece by piece, while they are hashed."""

    def __init__(self, feed: str, table: tuple[Column, ...]) -> None:
        self._table = table
        self._codes = CODES[OF_NAME[feed].kind]
        self._wrong: dict[str, int] = {}
        """what is wrong, and in how many rows"""
        if not _is_of(feed, table):
            self._wrong["its columns are not those of the feed"] = 1

    def look(self, rows: Rows) -> None:
        """Check further rows, in plain form."""
        for column in self._table:
            values = rows.get(column.name)
            if values is None or isinstance(values, Text):
                continue
            if values.dtype.kind == "f" and column.type != "float64":
                self._count(f"{column.name} is null", int(np.isnan(values).sum()))
            elif values.dtype.kind == "f":
                bad = np.isinf(values) if column.nullable else ~np.isfinite(values)
                self._count(f"{column.name} is not finite", int(bad.sum()))
            elif column.name in self._codes:
                known = np.isin(values, self._codes[column.name])
                self._count(f"{column.name} is no code", len(values) - int(known.sum()))

    def _count(self, what: str, rows: int) -> None:
        if rows:
            self._wrong[what] = self._wrong.get(what, 0) + rows

    def tell(self, path: str, findings: Findings) -> None:
        """Report what is wrong."""
        for what, rows in self._wrong.items():
            findings.problem("values", path, f"{what} ({rows} rows)")


def _is_of(feed: str, table: tuple[Column, ...]) -> bool:
    """Whether a file has the columns of its feed; an older file may lack those added later."""
    depth = sum(column.name.startswith("bid_px_") for column in table)
    found = [(column.name, column.type) for column in table]
    shared = {column.name for column in columns(feed, depth=depth)}
    features = tuple(name for name, _ in found if name not in shared) if feed == "feature" else ()
    declared = [(c.name, c.type) for c in columns(feed, depth=depth, names=features)]
    newer = {name for name, _ in declared[len(found) :]}
    return found == declared[: len(found)] and newer <= OF_NAME[feed].copies.keys()
