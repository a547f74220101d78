"""The venue conformance suite: every venue file is asked the same questions.

The venues are found by their files, the frames by their folder `venues/<token>`; see README.md
there. A new venue adds no test code.
"""

from __future__ import annotations

import msgspec
import pytest
from tickbus_ingest.exchanges import load, names

from tests.ingest.venues import vectors
from tests.ingest.venues.vectors import Reader

each_file = pytest.mark.parametrize("file", vectors.files())
each_venue = pytest.mark.parametrize("token", names())


@each_venue
def test_a_venue_has_vectors(token: str) -> None:
    assert token in vectors.tokens(), f"write tests/ingest/venues/{token}: see README.md there"


@each_file
def test_every_frame_says_what_the_venues_documents_say(file: str) -> None:
    story = vectors.story(file)
    reader = Reader(story)
    for step in story.steps:
        decoded = reader.step(step)
        if decoded is not None:
            wrong = vectors.wrong_rows(step, decoded, reader.venue.tickers)
            assert not wrong, f"{file}, {step.name!r}:\n" + "\n".join(wrong)


@each_venue
def test_the_instruments_are_those_in_the_venues_list(token: str) -> None:
    bodies, expected = vectors.listed(token)
    found = [msgspec.structs.asdict(one) for one in load(token).parse_instruments(bodies)]
    assert [one["ticker"] for one in found] == [one["ticker"] for one in expected]
    for own, wanted in zip(found, expected, strict=True):
        wrong = vectors.differences(wanted, own, "", all_of_it=True)
        assert not wrong, f"{token}, {own['ticker']}:\n" + "\n".join(wrong)
