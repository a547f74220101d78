"""The venue conformance suite: every venue file is asked the same questions.

The venues are found by their files, the frames by their folder `venues/<token>`; see README.md
there. A new venue adds no test code. Bytes that no venue sends: `test_venues_any_bytes.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.venue.contract import Snapshots
from tickbus_ingest.venue.guard import FAILED
from tickbus_ingest.venue.instruments import understood
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentStatus, StatusKind
from tickbus_sim import dialects

from tests.ingest.venues import comparing, vectors
from tests.ingest.venues.playing import Player
from tests.ingest.venues.reading import Reader
from tests.ingest.venues.vectors import Row, Step, Story

each_file = pytest.mark.parametrize("file", vectors.files())
each_venue = pytest.mark.parametrize("token", names())


def stories(token: str) -> Iterator[Story]:
    for file in vectors.files():
        if file.startswith(f"{token}/"):
            yield vectors.story(file)


@each_venue
def test_a_venue_has_vectors(token: str) -> None:
    assert token in vectors.tokens(), f"write tests/ingest/venues/{token}: see README.md there"
    assert f"{token}/frames.jsonl" in vectors.files()


@each_venue
def test_a_venue_can_be_played_on_this_machine(token: str) -> None:
    known = [exchange.token for exchange in dialects.exchanges()]
    assert token in known, f"write sim/tickbus_sim/dialects/{token}.py: see sim/README.md"


# ----------------------------------------------------------------- instruments


@each_venue
def test_the_instruments_are_those_in_the_venues_list(token: str) -> None:
    bodies, expected = vectors.listed(token)
    found = [
        msgspec.structs.asdict(one) for one in understood(load(token).parse_instruments(bodies))
    ]
    assert [one["ticker"] for one in found] == [one["ticker"] for one in expected]
    for own, wanted in zip(found, expected, strict=True):
        wrong = comparing.differences(wanted, own, "", all_of_it=True)
        assert not wrong, f"{token}, {own['ticker']}:\n" + "\n".join(wrong)


@each_venue
def test_an_odd_row_of_the_list_is_named_and_hides_no_other(token: str) -> None:
    bodies, _ = vectors.listed(token)
    kind = load(token)
    all_of_them = {one.ticker for one in understood(kind.parse_instruments(bodies))}
    named = 0
    for n, body in enumerate(bodies):
        for odd in _with_an_odd_row(msgspec.json.decode(body)):
            changed = [*bodies[:n], msgspec.json.encode(odd), *bodies[n + 1 :]]
            found = kind.parse_instruments(changed)
            kept = {one.ticker for one in understood(found)}
            assert len(all_of_them - kept) <= 1, f"{token}: {all_of_them - kept} are hidden"
            named += len(found) - len(kept)
    assert named, f"{token}: no row of its lists was odd"


def _with_an_odd_row(value: Any) -> Iterator[Any]:
    """The body again and again, each time with another of its rows replaced."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    holds_rows = len(items) > 1 and all(_is_row(one) for _, one in items)
    for key, one in items:
        if not isinstance(one, dict | list):
            continue
        for changed in [*_with_an_odd_row(one), *([{"odd": [one]}] if holds_rows else [])]:
            copy = value.copy()
            copy[key] = changed
            yield copy


def _is_row(value: Any) -> bool:
    """An object, or an array that begins with a name."""
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], str)
    )


@each_venue
def test_an_instrument_says_what_its_prices_and_quantities_mean(token: str) -> None:
    bodies, expected = vectors.listed(token)
    # What no document of the venue tells is null in instruments.json: a tick that depends on the
    # price, a step of quantities that is named nowhere.
    without_tick = {row["ticker"] for row in expected if row.get("tick_size", 0) is None}
    without_lot = {row["ticker"] for row in expected if row.get("lot_size", 0) is None}
    found = understood(load(token).parse_instruments(bodies))
    trading = [one for one in found if one.status is InstrumentStatus.TRADING]
    assert trading, f"{token}: instruments.json needs one that is traded now"
    for one in trading:
        assert one.tick_size > 0 or one.ticker in without_tick, one
        assert one.lot_size > 0 or one.ticker in without_lot, one
        assert 0 <= one.price_precision <= 18, one
        assert 0 <= one.qty_precision <= 18 or one.ticker in without_lot, one
        assert one.contract_size > 0, one
        assert one.base, one
        assert one.quote, one
        assert one.contract_unit, one


@each_venue
def test_each_body_of_instruments_has_its_request(token: str) -> None:
    venue, (bodies, _) = load(token), vectors.listed(token)
    waiting = venue.instruments_requests()
    asked = []
    for body in bodies:
        assert waiting, "nothing asks for this body"
        asked.append(waiting.pop(0))
        waiting += venue.more_instruments_requests(asked[-1], body)
    assert not waiting, f"no body answers {waiting[0].path}"
    assert all(request.path.startswith("/") for request in asked)
    assert len({request.path for request in asked}) == len(asked)


# ------------------------------------------------------------------- addresses


@each_venue
def test_an_address_that_must_be_asked_for_is_read_or_refused(token: str) -> None:
    venue, told = vectors.story(f"{token}/frames.jsonl").venue(), vectors.address(token)
    if not any(route.address for route in venue.routes()):
        assert told is None, "nobody asks for it"
        return
    assert told is not None, f"write tests/ingest/venues/{token}/address.json"
    assert venue.address(vectors.wire_text(told.body)) == told.url
    assert told.refused
    for body in [b"", b"{}", b"\xff", *map(vectors.wire_text, told.refused)]:
        with pytest.raises(Reject):
            venue.address(body)


# ---------------------------------------------------------------------- frames


@each_file
def test_every_frame_says_what_the_venues_documents_say(file: str) -> None:
    story = vectors.story(file)
    reader = Reader(story)
    for step in story.steps:
        decoded = reader.step(step)
        if decoded is not None:
            wrong = comparing.wrong_rows(step, decoded, reader.venue.tickers)
            assert not wrong, f"{file}, {step.name!r}:\n" + "\n".join(wrong)


@each_file
def test_a_session_publishes_and_asks_what_the_story_says(file: str) -> None:
    story = vectors.story(file)
    player = Player.of(story)
    for step in story.steps:
        player.step(step)
        wrong = comparing.wrong_session(step, player)
        assert not wrong, f"{file}, {step.name!r}:\n" + "\n".join(wrong)
        assert player.accounted() == player.frames, f"{file}, {step.name!r}: {player.fates}"


@each_venue
def test_every_feed_that_a_venue_claims_has_a_frame_that_gives_a_row(token: str) -> None:
    given: Counter[str] = Counter()
    for story in stories(token):
        wanted = {feed.partition(":")[0]: feed for feed in story.setup.feeds}
        for step in story.steps:
            given.update({wanted[feed]: len(rows) for feed, rows in (step.rows or {}).items()})
    if vectors.listed(token)[1]:
        given["instrument"] += 1
    missing = [feed for feed in load(token).feeds if not given[feed]]
    assert not missing, f"{token}: no frame of {', '.join(missing)}"


@each_venue
def test_the_vectors_hold_what_every_venue_has(token: str) -> None:
    venue, steps = load(token), [step for story in stories(token) for step in story.steps]
    controls = [one for step in steps for one in _controls(step)]
    made = vectors.story(f"{token}/frames.jsonl").venue()
    asked = [one for route in made.routes() for one in made.subscribe(route.streams)]
    answered = any(one.get("answer") and not one.get("error") for one in controls)
    assert answered or not any(one.answers for one in asked), "an answer"
    assert any(one.get("error") for one in controls), "an error"
    assert any(step.ignored for step in steps), "a frame that is no feed of ours"
    assert any(step.reject for step in steps), "a frame that is refused"
    whole = [
        row for step in steps for row in (step.rows or {}).get("l2", ()) if row.get("snapshot")
    ]
    assert whole or venue.snapshots is Snapshots.NONE, "a whole book"
    assert any(step.snapshot_of for step in steps) or venue.snapshots is not Snapshots.PULLED
    assert any(step.poll for step in steps) or not made.polls(), "a polled body"


def _controls(step: Step) -> list[Row]:
    return step.control if isinstance(step.control, list) else [step.control or {}]


# ------------------------------------------------------------ any way of cutting


@each_file
@pytest.mark.parametrize("flush", [2, 7, 2**30])
def test_frames_hold_the_same_however_many_are_read_at_once(file: str, flush: int) -> None:
    story = vectors.story(file)
    assert _read(story, flush) == _read(story, 1)


def _read(story: Story, flush: int) -> dict[str, list[object]]:
    """All events of a story, its frames read so many at once."""
    reader, found = Reader(story), dict[str, list[object]]()
    waiting: list[Step] = []

    def read_waiting() -> None:
        if waiting:
            data, lines = [step.data for step in waiting], [step.line for step in waiting]
            _collect(reader.frames(data, lines), reader.venue.tickers, found)
            waiting.clear()

    for step in story.steps:
        if step.is_frame:
            waiting.append(step)
            if len(waiting) == flush:
                read_waiting()
        else:
            read_waiting()
            decoded = reader.step(step)
            if decoded is not None:
                _collect(decoded, reader.venue.tickers, found)
    read_waiting()
    return found


def _collect(decoded: Decoded, tickers: list[str], found: dict[str, list[object]]) -> None:
    for feed, rows in comparing.found_rows(decoded, tickers).items():
        # repr: a NaN equals no other; the frame's number and a hashed id depend on the run
        kept = [{k: v for k, v in row.items() if k not in ("frame", "number")} for row in rows]
        found.setdefault(feed, []).extend(map(repr, kept))
    found.setdefault("refused", []).extend(decoded.refused[n] for n in sorted(decoded.refused))
    found.setdefault("replies", []).extend(text for _, text in decoded.replies)
    found.setdefault("losses", []).extend(one[1:] for one in decoded.losses)
    found.setdefault("ignored", []).extend(channel for _, channel in decoded.ignored)
    found.setdefault("controls", []).extend(one.text for one in decoded.controls)


@each_file
@pytest.mark.parametrize("flush", [2, 7, 2**30])
def test_what_is_published_does_not_depend_on_the_flush(file: str, flush: int) -> None:
    story = vectors.story(file)
    assert _played(story, flush) == _played(story, 1)


def _played(story: Story, flush: int) -> dict[tuple[str, ...], list[str]]:
    """All rows by feed and ticker: the order of both within a flush means nothing."""
    player = Player.of(story)
    waiting: list[Step] = []
    for step in [*story.steps, None]:
        if waiting and (step is None or not step.is_frame or len(waiting) == flush):
            player.say([one.data for one in waiting], [one.line for one in waiting])
            waiting.clear()
        if step is not None and step.is_frame:
            waiting.append(step)
        elif step is not None:
            player.step(step)
    found: dict[tuple[str, ...], list[str]] = {}
    for feed, rows in player.published.items():
        for row in rows:
            about = row["feed"] if feed == "status" else ""
            found.setdefault((feed, row["ticker"], about), []).append(repr(row))
    return found


@each_file
def test_a_new_connection_forgets_what_was_counted_on_the_last_one(file: str) -> None:
    story = vectors.story(file)
    reader = Reader(story)
    first, again = dict[str, list[object]](), dict[str, list[object]]()
    for found in (first, again):
        for line in reader.lines.values():
            reader.venue.connected(line)
        for step in story.steps:
            decoded = reader.step(step)
            if decoded is not None:
                _collect(decoded, reader.venue.tickers, found)
    assert again == first


@each_file
def test_two_connections_are_counted_apart(file: str) -> None:
    story = vectors.story(file)
    one, both = Reader(story), Reader(story)
    twins = {n: type(line)(n + 100, line.route) for n, line in both.lines.items()}
    for line in twins.values():
        both.venue.connected(line)
    both.lines |= {line.number: line for line in twins.values()}
    for step in story.steps:
        if step.reconnect is not None:
            one.step(step)
            both.step(step)
            both.venue.connected(twins[step.reconnect])
        elif step.is_frame:
            alone = dict[str, list[object]]()
            _collect(one.frames([step.data], [step.line]), one.venue.tickers, alone)
            for number in (step.line, step.line + 100):
                beside = dict[str, list[object]]()
                _collect(both.frames([step.data], [number]), both.venue.tickers, beside)
                assert beside == alone, f"{file}, {step.name!r} over line {number}"


@each_file
def test_a_ticker_that_nobody_asked_for_gives_no_row_and_no_failure(file: str) -> None:
    story = vectors.story(file)
    other = msgspec.structs.replace(story.instruments[0], ticker="NOBODYSCOIN")
    reader = Reader(story, load(story.token)([other], story.setup.feeds))
    for step in story.steps:
        if step.is_frame:
            decoded = reader.frames([step.data], [step.line])
            assert not decoded.tables, f"{file}, {step.name!r}"
            why = decoded.refused.get(0, "")
            assert not why.startswith(FAILED), f"{file}, {step.name!r}: {why}"


# ------------------------------------------------------------------------ books


@each_file
def test_a_snapshot_in_the_middle_replaces_the_book_without_a_gap(file: str) -> None:
    story = vectors.story(file)
    if story.venue().snapshots is not Snapshots.PUSHED:
        pytest.skip("the venue pushes no snapshots")
    player, first, updated = Player.of(story), dict[str, Step](), 0
    named: list[Step] = []
    for step in story.steps:
        player.step(step)
        named = [] if step.reconnect is not None else [*named, step] if step.names else named
        for row in (step.rows or {}).get("l2", ()):
            ticker = str(row.get("ticker", player.venue.tickers[0]))
            if player.session.books[player.venue.index[ticker]].state is not State.LIVE:
                continue
            if row.get("snapshot"):
                if step.is_frame:
                    first.setdefault(ticker, step)
            elif ticker in first:
                updated += 1
                _assert_replaces(player, ticker, first.pop(ticker), named)
    assert updated or "l2" not in story.setup.feeds or file.split("/")[1] != "frames.jsonl", (
        "frames.jsonl has a snapshot and an update that follows it"
    )


def _assert_replaces(player: Player, ticker: str, step: Step, named: Sequence[Step]) -> None:
    book = player.session.books[player.venue.index[ticker]]
    # Where a connection counts its messages, the number of this one has gone by.
    player.count_anew(step.line)
    for one in (*named, step):
        player.step(one)
    published = player.step_published
    player.count_anew(step.line)
    for one in named:
        player.step(one)
    rows = [
        row
        for row in (step.rows or {})["l2"]
        if row.get("ticker", player.venue.tickers[0]) == ticker
    ]
    assert book.state is State.LIVE
    side, price, qty = book.log.book.levels()
    held = sorted(zip(side.tolist(), price.tolist(), qty.tolist(), strict=True))
    assert held == sorted((s, p, q) for s, p, q in rows[-1]["levels"] if q)
    gaps = [one for one in published.get("status", ()) if one["kind"] == StatusKind.GAP]
    assert not gaps
