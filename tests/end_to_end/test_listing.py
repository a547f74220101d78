"""A ticker is listed and another one delisted during a run, from the venue to Parquet."""

from __future__ import annotations

from pathlib import Path

import pytest
from tickbus.cli.dispatch import main
from tickbus_schemas.messages import InstrumentStatus
from tickbus_sim.dialect import Dialect
from tickbus_sim.market import Season

from tests.end_to_end import faulty
from tests.end_to_end.journal import Journal
from tests.end_to_end.truth import Comparison

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

KINDS = {"binance_usdm", "okx", "kraken", "hyperliquid", "bitmex", "coinbase"}
"""Books that are pulled, linked, checked by sums, always whole, keyed, counted by connection."""
LISTED_S, DELISTED_S = 8.0, 10.0
"""Of the venue's time, which goes ten times as fast as the clock."""


@pytest.mark.parametrize(
    "dialect",
    [one for one in faulty.VENUES if one.exchange.token in KINDS],
    ids=lambda one: one.exchange.token,
)
def test_what_is_listed_later_is_whole_and_what_is_delisted_ends_and_nothing_else_is_touched(
    dialect: Dialect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stays, goes, comes = dialect.demo
    seasons = [Season(goes, until_s=DELISTED_S), Season(comes, from_s=LISTED_S)]
    refresh = {"TICKBUS_INGEST__INSTRUMENTS_REFRESH_S": "0.3"}
    outcome = faulty.run(dialect, [], tmp_path, seed=7, seasons=seasons, **refresh)
    compared = Comparison(dialect, outcome.data, Journal(outcome.journal))
    for ticker in dialect.demo:
        for feed in compared.feeds:
            assert compared.wrong_rows(feed, ticker) == [], feed
            assert compared.lost_without_a_fault(feed, ticker) == [], feed
            assert compared.gaps(feed, ticker) == [], feed
        wrong = compared.wrong_books(ticker)
        if ticker == goes:  # its book goes on at the venue, unheard
            wrong = [line for line in wrong if not line.startswith("the final book")]
        assert wrong == []
    for feed in compared.feeds:
        assert compared.missing(feed, stays) == [], feed
    for feed in ("trade", "l2", "bbo"):
        if feed in compared.feeds or feed == "l2":
            assert compared.rows(feed, comes), feed
    opened_us = min(row["timestamp"] for row in compared.rows("trade", stays))
    first_us = min(row["timestamp"] for row in compared.rows("l2", comes))
    assert first_us - opened_us > 1e6 * (LISTED_S - 3)

    last = {one: compared.rows("instrument", one)[-1]["status"] for one in dialect.demo}
    assert last[goes] == InstrumentStatus.DELISTED
    assert last[stays] == last[comes] == InstrumentStatus.TRADING
    reasons = [row["reason"] for row in compared.rows("status", goes)]
    assert "the venue lists it no more" in reasons

    code = main(["verify", str(outcome.data)])
    assert (code, capsys.readouterr().err) == (0, "")
