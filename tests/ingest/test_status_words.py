"""No venue is called more than its evidence: the recordings in captures.json allow the word.

`works` needs a recording of WORKS_EVENTS book events whose books are compared with independent
answers by the test that stands beside it. `checked` needs recorded frames with rows.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.venue.contract import Evidence
from tickbus_schemas.feeds import RAW

from tests.ingest.venues import vectors
from tests.ingest.venues.vectors import Captures, Compared

WORKS_EVENTS = 500
HERE = Path(__file__).parent
ROWS = ("rows", *RAW)
each_venue = pytest.mark.parametrize("token", names())


def held(token: str) -> Captures:
    return vectors.captures_of_venues().get(token, Captures())


def allowed(token: str) -> Evidence:
    """The strongest word that the recordings of a venue allow."""
    own = held(token)
    if any(one.events >= WORKS_EVENTS for one in own.compared.values()):
        return Evidence.WORKS
    recorded = [one.fates for one in own.captures]
    if own.compared or any(fates.get(name, 0) for fates in recorded for name in ROWS):
        return Evidence.CHECKED
    return Evidence.BETA


@each_venue
def test_no_venue_is_called_more_than_its_recordings_allow(token: str) -> None:
    word = load(token).evidence
    assert allowed(token).reaches(word), f"{token}: {word.value} needs more recordings"


def test_the_word_works_says_how_long_the_recording_is() -> None:
    assert f" {WORKS_EVENTS} book events" in Evidence.WORKS.meaning


def test_the_words_are_in_order_of_strength() -> None:
    assert Evidence.WORKS.reaches(Evidence.CHECKED)
    assert Evidence.CHECKED.reaches(Evidence.CHECKED)
    assert not Evidence.BETA.reaches(Evidence.CHECKED)


def comparisons() -> Iterator[tuple[str, str, Compared]]:
    for token, own in vectors.captures_of_venues().items():
        for name, one in own.compared.items():
            yield token, name, one


COMPARED = [*comparisons()]


@pytest.mark.parametrize(("token", "name", "compared"), COMPARED, ids=lambda one: str(one)[:40])
def test_the_test_that_compares_a_recording_names_it(
    token: str, name: str, compared: Compared
) -> None:
    by_rows = {one.name for one in held(token).captures if one.books}
    source = (HERE / compared.by).read_text()
    assert name in source or (compared.by == "test_venue_captures.py" and name in by_rows)


@pytest.mark.parametrize(("token", "name", "compared"), COMPARED, ids=lambda one: str(one)[:40])
def test_a_recording_has_so_many_book_events(
    captures: Path, token: str, name: str, compared: Compared
) -> None:
    """Answers hold one line an event, or say in their summary how many they applied."""
    answers = captures / "expected" / name
    kinds = ("oracle.book_top10_per_event", "tardis.book_change")
    files = [
        f"{answers}.{kind}.jsonl.gz"
        for kind in kinds
        if Path(f"{answers}.{kind}.jsonl.gz").exists()
    ]
    if files:
        of_rows = {one.name: set(one.books.values()) for one in held(token).captures}
        channels = of_rows.get(name)
        with gzip.open(files[0], "rt") as lines:
            events = [json.loads(line) for line in lines]
        count = sum(channels is None or one["channel"] in channels for one in events)
    else:
        summary = json.loads((captures / "expected" / f"{name}.oracle.summary.json").read_text())
        count = sum(one["depth_events_applied"] for one in summary["books"].values())
    assert count == compared.events
