"""`scan`: the dataset as a polars LazyFrame, by the manifest and never by a glob.

The frame is the dataset at the moment of the call. Files that a writer commits later, or is about
to commit, are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

from tickbus.lake import manifest
from tickbus.lake.dataset_schema import FEEDS, columns, schema
from tickbus.lake.manifest import DataFile

try:
    import polars as pl
except ImportError:
    raise ImportError(
        "tickbus.scan needs polars and pyarrow: pip install 'tickbus[lake]'"
    ) from None

Moment: TypeAlias = datetime | date | int | str
"""A datetime (UTC unless it has a zone), ISO text, or microseconds since 1970."""


def scan(
    feed: str,
    exchange: str | None = None,
    tickers: str | Iterable[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    root: str | Path = "./data",
) -> pl.LazyFrame:
    """Rows of `feed` with start <= `timestamp` < end (us UTC).

    feed: one of `tickbus_schemas.feeds`, such as trade, l2 or bar. exchange: token such as
    `binance_usdm`. tickers: as the exchange spells them. Rows of one ticker come in order of
    `seq_id`; tickers are not ordered. If no row fits, the frame is empty and has its columns.

    Fatal when `root` holds no dataset, the feed is unknown or a time cannot be read; Reject for an
    unknown exchange.
    """
    if feed not in FEEDS:
        raise Fatal(f"unknown feed {feed!r}: one of {', '.join(FEEDS)}")
    first, last = _microseconds(start), _microseconds(end)
    if isinstance(tickers, str):
        tickers = [tickers]
    files = select(
        Path(root),
        feed,
        exchange=exchange,
        tickers=None if tickers is None else set(tickers),
        start=first,
        end=last,
    )
    frame = _read(Path(root), feed, files)
    if first is not None:
        frame = frame.filter(pl.col("timestamp") >= first)
    if last is not None:
        frame = frame.filter(pl.col("timestamp") < last)
    return frame


def select(
    root: Path,
    feed: str,
    *,
    exchange: str | None = None,
    tickers: set[str] | None = None,
    start: int | None = None,
    end: int | None = None,
) -> list[DataFile]:
    """Committed files that may hold such rows, by ticker and then in log order."""
    if not (root / manifest.FOLDER).is_dir():
        raise Fatal(f"{root} holds no dataset (no {manifest.FOLDER}): name the folder of --data")
    token = None if exchange is None else Exchange.from_token(exchange).token
    files = [
        file
        for file in manifest.committed_files(root)
        if file.feed == feed
        and (token is None or file.exchange == token)
        and (tickers is None or file.ticker in tickers)
        and (start is None or file.last_timestamp >= start)
        and (end is None or file.first_timestamp < end)
    ]
    return sorted(files, key=lambda file: (file.exchange, file.ticker, file.first_seq_id))


def _read(root: Path, feed: str, files: list[DataFile]) -> pl.LazyFrame:
    """The files as one frame; columns that only some have are null in the others."""
    by_table: dict[str, list[str]] = {}
    for file in files:
        by_table.setdefault(file.table, []).append(str(root / file.path))
    if not by_table:
        empty = pl.from_arrow(schema(columns(feed)).empty_table())
        assert isinstance(empty, pl.DataFrame)
        return empty.lazy()
    frames = [
        pl.scan_parquet(paths, glob=False, hive_partitioning=False) for paths in by_table.values()
    ]
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")


def _microseconds(moment: Moment | None) -> int | None:
    """us since 1970 of a time; Fatal for text that is none."""
    if moment is None or isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise Fatal(f"{moment!r} is not a time: write 2024-08-08 or 2024-08-08T12:00") from None
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
