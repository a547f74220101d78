"""Which rows go to the same file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tickbus.lake import manifest
from tickbus.lake.dataset_schema import Column, columns
from tickbus_schemas.exchanges import Exchange


class PartKey(NamedTuple):
    """What the rows of one file have in common."""

    feed: str
    exchange: Exchange
    ticker: str
    day: int
    """days since 1970 of the rows' `timestamp`"""
    catalogue: str = ""
    depth: int = 0
    names: tuple[str, ...] = ()
    """of features"""

    @property
    def date(self) -> str:
        """YYYY-MM-DD."""
        return str(np.datetime64(self.day, "D"))

    @property
    def table(self) -> tuple[Column, ...]:
        """Columns of the file."""
        return columns(self.feed, depth=self.depth, names=self.names)

    @property
    def folder(self) -> str:
        """Of the file, below the dataset's root."""
        return str(
            manifest.data_folder(self.feed, self.exchange, self.ticker, self.date, self.catalogue)
        )
