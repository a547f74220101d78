"""Faults by chance on every venue, seed after seed: `make nightly`. Too long for every run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tickbus.cli.dispatch import main
from tickbus_sim.dialect import Dialect

from tests.end_to_end import faulty
from tests.end_to_end.journal import Journal
from tests.end_to_end.test_faults import sent, without_numbers
from tests.end_to_end.truth import Comparison

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]
SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dialect", faulty.VENUES, ids=lambda dialect: dialect.exchange.token)
def test_whatever_goes_wrong_rows_are_right_and_losses_are_told(
    dialect: Dialect, seed: int, tmp_path: Path
) -> None:
    faults = faulty.random_faults(dialect, list(dialect.demo), random.Random(seed))
    outcome = faulty.run(dialect, faults, tmp_path, seed=seed)
    journal = Journal(outcome.journal)
    compared = Comparison(dialect, outcome.data, journal)
    for ticker in dialect.demo:
        for feed in compared.feeds:
            assert compared.wrong_rows(feed, ticker) == [], feed
            assert compared.lost_in_silence(feed, ticker) == [], feed
            assert compared.lost_without_a_fault(feed, ticker) == [], feed
        assert compared.needless_gaps(ticker) == []
        assert compared.wrong_books(ticker) == []
        assert compared.changes_lost_in_silence(ticker) == []
    damaged = [*journal.faults["corrupt"], *journal.faults["nan"]]
    texts = {without_numbers(sent(one)) for one in damaged}
    assert {without_numbers(one.data) for one in outcome.letters} <= texts
    assert main(["verify", str(outcome.data)]) == 0
