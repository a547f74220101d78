"""A feed of ingest is one declaration, and a venue gives the feeds that it names and we want."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tickbus_ingest
from tickbus_ingest.venue.contract import Line, Route
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS, Feed, Treatment
from tickbus_schemas import feeds as schemas

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.venues.playing import Player

PACKAGE = Path(tickbus_ingest.__file__).parent
MESSAGES = {feed.name: kind for kind, feed in schemas.OF_KIND.items()}
WITH_ROWS = [feed for feed in FEEDS if feed.treatment is not Treatment.LISTED]
OF_INGEST = {"frame", "ticker", "event_us", "number", "whole", "checksum"}
"""Columns that are in no message."""


# ------------------------------------------------------------------ declaration


def lists_of(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """(line, texts) of each literal that holds several values or keys."""
    for node in ast.walk(tree):
        items: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = node.keys
        yield (
            getattr(node, "lineno", 0),
            [str(one.value) for one in items if isinstance(one, ast.Constant)],
        )


def test_no_other_list_of_feeds_exists_in_ingest() -> None:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).as_posix()
        if name == "venue/feeds.py" or name.startswith("exchanges/"):
            continue  # a venue says itself which feeds it has
        for line, texts in lists_of(ast.parse(file.read_text())):
            if len(set(texts) & BY_NAME.keys()) > 1:
                found.append(f"{name}:{line}: {texts}")
    assert not found


def test_every_feed_of_the_market_is_declared() -> None:
    of_market = {feed.name for feed in schemas.FEEDS if feed.stream == "md"}
    assert of_market - {"status"} == set(BY_NAME)  # statuses are made here, and asked of nobody


@pytest.mark.parametrize("feed", WITH_ROWS, ids=lambda feed: feed.name)
def test_every_column_is_one_of_the_message(feed: Feed) -> None:
    names = [one.name for one in feed.layout]
    assert len(set(names)) == len(names)
    assert set(names) - OF_INGEST <= set(MESSAGES[feed.name].columns)
    assert feed.inferred > 0
    assert "TIME_INFERRED" in repr(feed.inferred)


# ------------------------------------------------------------- what a venue gives


class Talkative(PlainVenue):
    """Gives quotes and statistics with each trade; it does not name the statistics."""

    def _read(self, word: str, value: Any, rows: Any) -> None:
        ticker = self.tickers[0]
        if word == "both":
            rows.trade(ticker, 1_760_000_000_000, value, 1, 1.0, 1.0)
            rows.bbo(ticker, 1_760_000_000_000, 1.0, 1.0, 2.0, 1.0, value)
        elif word == "quote":
            rows.bbo(ticker, 1_760_000_000_000, 1.0, 1.0, 2.0, 1.0, value)
        elif word == "unnamed":
            rows.trade(ticker, 1_760_000_000_000, value, 1, 1.0, 1.0)
            rows.ticker(ticker, 1_760_000_000_000, last_price=1.0)


def player(*feeds: str) -> Player:
    return Player(plain("A", feeds=feeds, kind=Talkative), [Line(0, Route("", ()))])


def test_a_feed_that_nobody_asked_for_is_not_published_and_its_frame_is_counted() -> None:
    own = player("trade")
    own.say([b'{"both":1}', b'{"quote":2}'])
    assert [row["trade_id"] for row in own.published["trade"]] == ["1"]
    assert "bbo" not in own.published
    assert own.fates == {("published", ""): 1, ("ignored", "bbo"): 1}
    both = player("trade", "bbo")
    both.say([b'{"both":1}', b'{"quote":2}'])
    assert len(both.published["bbo"]) == 2


def test_a_frame_with_a_feed_that_the_venues_file_does_not_name_is_refused() -> None:
    own = player("trade", "bbo")
    own.say([b'{"unnamed":1}', b'{"both":1}'])
    assert "binance_usdm gives a row of ticker, which its feeds do not name" in own.refused[0]
    assert own.fates == {("refused", ""): 1, ("published", ""): 1}
    assert "ticker" not in own.published
    assert len(own.published["trade"]) == 1
