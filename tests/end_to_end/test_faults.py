"""Each venue goes wrong in every way that venues do: what must then be in the files, and is not.

A venue is tested when it has a file in ingest's `exchanges` and a dialect of that name. The truth
is the journal of the simulated venue.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tickbus.cli.dispatch import main
from tickbus_ingest import exchanges
from tickbus_ingest.venue.contract import TradeIds
from tickbus_sim.dialect import Dialect

from tests.end_to_end import faulty
from tests.end_to_end.faulty import KINDS, Outcome
from tests.end_to_end.journal import Journal, Line
from tests.end_to_end.truth import DISCONNECTED, LOST, REORDERED, Comparison

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]

EVENTS_OF = {"trade": {"trade"}, "l2": {"change"}, "bbo": {"quote", "statistics"}}
SEED = 1


def has_no_words(dialect: Dialect) -> bool:
    """Whether a venue neither counts its trades nor has heartbeats of its own."""
    venue = exchanges.load(dialect.exchange.token)
    return venue.trade_ids is TradeIds.UNIQUE and not venue.silence_s


TWICE = ("binance_usdm", "kraken", "hyperliquid")
"""Venues that are run with two connections, too: with ids that are global, and both without."""
RUNS = [(dialect, 1) for dialect in faulty.VENUES] + [
    (dialect, 2) for dialect in faulty.VENUES if dialect.exchange.token in TWICE
]


@pytest.fixture(
    scope="module", params=RUNS, ids=[f"{one.exchange.token}-{count}" for one, count in RUNS]
)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of a venue with all faults, which befall all connections alike."""
    dialect, connections = request.param
    folder = tmp_path_factory.mktemp(dialect.exchange.token)
    faults = faulty.faults_of(dialect, dialect.demo[0])
    return faulty.run(
        dialect, faults, folder, seed=SEED, TICKBUS_INGEST__CONNECTIONS=str(connections)
    )


@pytest.fixture(scope="module")
def compared(outcome: Outcome) -> Comparison:
    return Comparison(outcome.dialect, outcome.data, Journal(outcome.journal))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fault_happens(outcome: Outcome, compared: Comparison, kind: str) -> None:
    journal, ticker = compared.journal, outcome.dialect.demo[0]
    if kind == "disconnect":
        for one in outcome.dialect.demo:
            assert any(row["kind"] == DISCONNECTED for row in compared.rows("status", one))
        assert journal.faults[kind]
        return
    told = [journal.kind_of[fault["frame"]] for fault in journal.faults[kind]]
    for feed, events in EVENTS_OF.items():
        assert events & set(told) or not outcome.dialect.family_of(feed), (
            f"no frame of {feed} was touched"
        )
    if {kind} & LOST:
        kinds = frozenset({kind})
        touched = [one for one in journal.events["trade", ticker] if journal.was(one, kinds)]
        assert touched
        assert all(one in compared.missing("trade", ticker) for one in touched)


def test_the_venue_sends_what_it_says(outcome: Outcome, compared: Comparison) -> None:
    touched = Counter({kind: len(faults) for kind, faults in compared.journal.faults.items()})
    frames = outcome.end["frames"] - touched["drop"] - touched["silence"] + touched["repeat"]
    assert outcome.end["sent"] + outcome.end["unsubscribed"] == frames
    assert outcome.end["frames"] == len(compared.journal.kind_of)


def test_every_row_happened_and_is_there_once(outcome: Outcome, compared: Comparison) -> None:
    for feed in compared.feeds:
        for ticker in outcome.dialect.demo:
            assert compared.wrong_rows(feed, ticker) == [], feed
        assert any(compared.rows(feed, ticker) for ticker in outcome.dialect.demo), feed


def test_nothing_is_lost_in_silence(outcome: Outcome, compared: Comparison) -> None:
    for ticker in outcome.dialect.demo:
        for feed in compared.feeds:
            assert compared.lost_in_silence(feed, ticker) == [], feed
        assert compared.changes_lost_in_silence(ticker) == []


def test_a_fault_costs_only_what_it_touches(outcome: Outcome, compared: Comparison) -> None:
    for ticker in outcome.dialect.demo:
        for feed in compared.feeds:
            assert compared.lost_without_a_fault(feed, ticker) == [], feed
        assert compared.needless_gaps(ticker) == []


def test_every_book_is_the_venues_after_every_packet(
    outcome: Outcome, compared: Comparison
) -> None:
    for ticker in outcome.dialect.demo:
        assert compared.wrong_books(ticker) == []


def test_trades_and_numbered_updates_out_of_order_are_put_in_order(
    outcome: Outcome, compared: Comparison
) -> None:
    ticker = outcome.dialect.demo[0]
    missing = compared.missing("trade", ticker)
    if compared.numbers_changes:
        missing += compared.changes_missing(ticker)
    assert [one for one in missing if compared.journal.was(one, REORDERED)] == []
    if compared.counts_trades:
        ids = [int(row["trade_id"]) for row in compared.rows("trade", ticker)]
        assert ids == sorted(ids)


def test_damaged_frames_are_dead_letters(outcome: Outcome, compared: Comparison) -> None:
    journal = compared.journal
    heard = [one for one in journal.faults["corrupt"] if one["frame"] not in journal.unheard]
    damaged = Counter(without_numbers(sent(one)) for one in heard)
    assert damaged
    told = Counter(without_numbers(letter.data) for letter in outcome.letters)
    assert set(told) == set(damaged)
    # While a connection is replaced, both receive the frame, and each tells what it received.
    assert all(count <= told[frame] <= 2 * count for frame, count in damaged.items())
    for letter in outcome.letters:
        assert letter.service == "ingest"
        assert letter.reason


def sent(fault: Line) -> bytes:
    """The frame that a fault damaged, as it was sent."""
    return bytes.fromhex(fault["hex"]) if "hex" in fault else fault["text"].encode()


def without_numbers(frame: bytes) -> bytes:
    """A frame but for its digits: a connection that is counted puts its own number in."""
    return re.sub(rb"\d+", b"", frame)


def test_verify_finds_nothing_and_counts_the_gaps(
    outcome: Outcome, compared: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["verify", str(outcome.data)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), out
    assert f"{compared.gap_count} gaps are announced in the status feed" in out.splitlines()
    assert out.splitlines()[-1] == f"{outcome.data}: whole and unchanged"


SPEECHLESS = next(one for one in faulty.VENUES if has_no_words(one))


@pytest.mark.parametrize("dialect", [SPEECHLESS], ids=[SPEECHLESS.exchange.token])
def test_a_connection_that_is_silent_for_too_long_is_given_up_and_its_silence_is_a_gap(
    dialect: Dialect, tmp_path: Path
) -> None:
    """Nothing but that tells what is missing where the venue does not count."""
    mute = {"kind": "mute", "at": 3.0}
    outcome = faulty.run(dialect, [mute], tmp_path, seed=SEED, TICKBUS_INGEST__SILENCE_S="1")
    compared = Comparison(dialect, outcome.data, Journal(outcome.journal))
    assert compared.journal.faults["mute"]
    assert compared.gaps("trade", dialect.demo[0])
    for ticker in dialect.demo:
        reasons = [row["reason"] for row in compared.rows("status", ticker)]
        assert any("silent" in reason for reason in reasons)
        for feed in ("trade", "bbo"):
            assert compared.missing(feed, ticker)
            assert compared.lost_in_silence(feed, ticker) == []
        assert compared.wrong_books(ticker) == []
        assert compared.changes_missing(ticker)
        assert compared.changes_lost_in_silence(ticker) == []
