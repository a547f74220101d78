"""Two lines of one venue: each fault befalls one of them while the other lives.

The lines come from two addresses of this machine, so that the simulated venue can tell them apart.
What it did to whom is its own schedule, with which the metrics are compared.
"""

from __future__ import annotations

import re

import pytest
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import StatusKind
from tickbus_sim import dialects

from tests.end_to_end import faulty
from tests.end_to_end.faulty import Fault, Outcome
from tests.end_to_end.journal import Journal
from tests.end_to_end.truth import DISCONNECTED, Comparison

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]

GOOD, BAD = "127.0.0.1", "127.0.0.2"
DELAY_S = 0.2
SEED = 1
RACED = {"trade", "change", "quote"}
"""Events that are raced, a frame each."""


def faults() -> list[Fault]:
    """One line silenced, delayed, gapped, reordered and cut in turn, then the other one cut.

    Seconds of the venue; by the first one both lines are open, by the last one both again.
    """
    return [
        {"kind": "silence", "at": 8.0, "length_s": 1.5, "client": BAD},
        {"kind": "delay", "at": 11.0, "count": 800, "length_s": DELAY_S, "client": BAD},
        {"kind": "drop", "at": 19.0, "count": 40, "client": BAD},
        {"kind": "reorder", "at": 21.0, "count": 20, "client": BAD},
        {"kind": "disconnect", "at": 24.0, "length_s": 0.1, "client": BAD},
        {"kind": "disconnect", "at": 34.0, "length_s": 0.1, "client": GOOD},
    ]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of a venue whose ids are the same on every connection."""
    return faulty.run(
        dialects.load(Exchange.BINANCE_USDM),
        faults(),
        tmp_path_factory.mktemp("lines"),
        seed=SEED,
        TICKBUS_INGEST__CONNECTIONS="2",
        TICKBUS_INGEST__BIND=f"{GOOD},{BAD}",
        TICKBUS_INGEST__LINES_REPORT_S="3600",
        # It is the venue's time, and this venue hurries: a moment of ours is a second of it.
        TICKBUS_INGEST__REORDER_WAIT_MS="5000",
    )


@pytest.fixture(scope="module")
def compared(outcome: Outcome) -> Comparison:
    return Comparison(outcome.dialect, outcome.data, Journal(outcome.journal))


Numbers = dict[str, int]


@pytest.fixture(scope="module")
def reports(compared: Comparison) -> dict[str, Numbers]:
    """What the log says of each line: the lines of all routes added up by their place."""
    found: dict[str, Numbers] = {}
    for ticker in compared.dialect.demo:
        for row in compared.rows("status", ticker):
            if row["kind"] == StatusKind.LINE:
                place = row["reason"].partition(" ")[0].rpartition(".")[2]
                numbers = dict(re.findall(r"(\w+)=(\d+)", row["reason"]))
                total = found.setdefault(place, {})
                for name in ("wins", "drops", "gaps"):
                    total[name] = total.get(name, 0) + int(numbers[name])
                late = int(re.findall(r"behind_us=\d+/(\d+)", row["reason"])[0])
                total["behind_us"] = max(total.get("behind_us", 0), late)
    return found


def test_each_fault_befell_the_one_line_and_not_the_other(compared: Comparison) -> None:
    for kind in ("silence", "delay", "drop", "reorder", "disconnect"):
        assert compared.journal.of_clients[BAD, kind], kind
    assert not any(compared.journal.faults.values())
    for ticker in compared.dialect.demo:
        said = [row for row in compared.rows("status", ticker) if row["kind"] == DISCONNECTED]
        assert said
        assert all("goes on" in row["reason"] for row in said)


def test_there_is_no_gap_and_nothing_is_missing_or_said_twice(compared: Comparison) -> None:
    for ticker in compared.dialect.demo:
        for feed in ("trade", "l2", "bbo"):
            assert compared.gaps(feed, ticker) == [], feed
        for feed in compared.feeds:
            assert compared.missing(feed, ticker) == [], feed
            assert compared.wrong_rows(feed, ticker) == [], feed
        assert compared.changes_missing(ticker) == []
        assert compared.wrong_books(ticker) == []


def test_the_lines_are_told_as_the_venue_treated_them(
    compared: Comparison, reports: dict[str, Numbers]
) -> None:
    journal = compared.journal
    touched = {
        kind: [
            fault
            for fault in journal.of_clients[BAD, kind]
            if journal.kind_of.get(fault["frame"]) in RACED
        ]
        for kind in ("silence", "delay", "drop")
    }
    good, bad = reports["0"], reports["1"]
    lost = len(touched["silence"]) + len(touched["drop"])
    assert lost > 100
    assert bad["gaps"] == lost, "what the venue did not send over the one line"
    assert good["gaps"] == 0
    assert good["wins"] >= lost + len(touched["delay"])
    assert bad["drops"] >= len(touched["delay"])
    assert bad["behind_us"] >= 0.9e6 * DELAY_S / faulty.SPEED
