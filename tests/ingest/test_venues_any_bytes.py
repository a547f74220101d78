"""Bytes that no venue sends: rows or a refusal of the frame, never another error, nothing kept.

Refusals whose reason begins with `FAILED` come from an exception that the venue's file did not
mean: they are faults of that file.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.decoding import Decoded, FrameDecoder
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Line, Route
from tickbus_ingest.venue.guard import FAILED
from tickbus_ingest.venue.instruments import Instrument, understood
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Reject

from tests.ingest import wire
from tests.ingest.venues import vectors
from tests.ingest.venues.mutations import changed, each_change, each_cut, json_texts
from tests.ingest.venues.playing import Player
from tests.ingest.venues.reading import RECEIVED_MS, Reader

each_file = pytest.mark.parametrize("file", vectors.files())
each_venue = pytest.mark.parametrize("token", names())
MANY = settings(max_examples=150)
RECORDED_MAX = 2000
"""Lines of each capture."""
_TICKERS = re.compile(r'"([A-Z0-9]{1,12}(?:[-_/][A-Z0-9]{1,12}){0,3})"')
"""Texts in a frame that may be a ticker: all of them are asked for."""


def assert_read_or_refused(decoded: Decoded, frames: list[bytes]) -> None:
    """Each frame gave rows, or a reason and nothing else."""
    for n, why in decoded.refused.items():
        assert why, frames[n][:500]
        assert not why.startswith(FAILED), f"{why}: {frames[n][:500]!r}"
    refused = np.array(sorted(decoded.refused), np.int64)
    for feed, columns in decoded.tables.items():
        kept = np.isin(columns["frame"], refused)
        assert not kept.any(), (
            f"{feed} of a refused frame: {frames[columns['frame'][kept][0]][:500]!r}"
        )
        for name, column in columns.items():
            if column.dtype == np.float64:
                assert not np.isinf(column).any(), f"{feed}.{name}"
    others = [*decoded.replies, *decoded.losses, *decoded.ignored]
    kept_frames = {one[0] for one in others} | {one.frame for one in decoded.controls}
    assert not kept_frames & set(decoded.refused)


def wrong_frames(story: vectors.Story) -> Iterable[tuple[vectors.Step, list[bytes]]]:
    """For each frame of a story all that differ in one place."""
    for step in story.steps:
        if step.is_frame:
            yield step, [*each_change(step.data), *each_cut(step.data)]


@each_file
def test_every_single_change_of_a_frame_gives_rows_or_a_reason(file: str) -> None:
    reader = Reader(vectors.story(file))
    for step, frames in wrong_frames(vectors.story(file)):
        decoded = reader.frames(frames, [step.line] * len(frames))
        assert_read_or_refused(decoded, frames)


@each_file
def test_a_session_goes_on_after_any_single_change_of_a_frame(file: str) -> None:
    story = vectors.story(file)
    player = Player.of(story)
    for step, frames in wrong_frames(story):
        player.say(frames, [step.line] * len(frames))
        assert player.accounted() == player.frames, step.name
    player.wait(60, settle=True)
    assert player.accounted() == player.frames


@each_file
def test_a_refused_frame_leaves_nothing_behind_but_that_it_was(file: str) -> None:
    story = vectors.story(file)
    clean, dirty = Player.of(story), Player.of(story)
    probe = Reader(story)
    for step in story.steps:
        if step.is_frame:
            refused = _refused(probe, list(each_change(step.data))[::7], step.line)
            dirty.say(refused, [step.line] * len(refused))
            dirty.received_ns = clean.received_ns  # it stands for times that the venue leaves out
        probe.step(step)
        clean.step(step)
        dirty.step(step)
    assert _rows(dirty) == _rows(clean)


def _refused(probe: Reader, frames: list[bytes], line: int) -> list[bytes]:
    """Those that are refused behind what the line brought so far; none of them is remembered."""
    memory, found = probe.lines[line].memory, []
    before = dict(memory)
    for frame in frames:
        if probe.frames([frame], [line]).refused:
            found.append(frame)
        memory.clear()
        memory.update(before)
    return found


def _rows(player: Player) -> dict[tuple[str, str], list[str]]:
    """What was published, but for what tells when it came."""
    found: dict[tuple[str, str], list[str]] = {}
    for feed, rows in player.published.items():
        when = {"packet_id", "rcv_timestamp"}
        if feed == "status":  # of a ticker without an event it is the receive time
            when.add("timestamp")
        for row in rows:
            if feed == "status" and row["reason"].startswith("a frame is refused: "):
                continue
            kept = {k: v for k, v in row.items() if k not in when}
            found.setdefault((feed, row["ticker"]), []).append(repr(kept))
    return found


@each_file
@MANY
@given(data=st.data())
def test_frames_with_several_changes_give_rows_or_a_reason(file: str, data: st.DataObject) -> None:
    story = vectors.story(file)
    known = [step.data for step in story.steps if step.is_frame]
    frames = data.draw(st.lists(changed(known), min_size=1, max_size=4))
    assert_read_or_refused(Reader(story).frames(frames, [0] * len(frames)), frames)
    player = Player.of(story)
    player.say(frames, [0] * len(frames))
    player.wait(60, settle=True)
    assert player.accounted() == player.frames


@each_venue
@MANY
@given(frames=st.lists(st.one_of(st.binary(max_size=60), json_texts()), min_size=1, max_size=3))
def test_any_bytes_and_any_json_give_rows_or_a_reason(token: str, frames: list[bytes]) -> None:
    reader = Reader(vectors.story(f"{token}/frames.jsonl"))
    assert_read_or_refused(reader.frames(frames, [0] * len(frames)), frames)


@each_venue
def test_very_deep_and_very_long_frames_are_refused(token: str) -> None:
    frames = [
        b"[" * 100_000, b'{"a":' * 100_000, b'{"data":' * 5000 + b"1" + b"}" * 5000,
        b'"' + b"a" * 10**6 + b'"', b"9" * 10**6, b" " * 10**6, b"", b"\0", b"null", b"[]", b"{}",
    ]  # fmt: skip
    decoded = Reader(vectors.story(f"{token}/frames.jsonl")).frames(frames, [0] * len(frames))
    assert_read_or_refused(decoded, frames)
    assert not decoded.tables


@each_venue
def test_recorded_frames_of_the_exchange_give_rows_or_a_reason(token: str, captures: Path) -> None:
    folders = [path for path in (captures / "frames").iterdir() if token.startswith(path.name)]
    files = sorted(path for folder in folders for path in folder.glob("*.jsonl.gz"))
    if not files:
        pytest.skip("no capture of this exchange")
    for file in files:
        lines = list(itertools.islice(wire.recorded(file), RECORDED_MAX))
        frames = [line["data"].encode() for line in lines if line["dir"] == "in"]
        tickers = {one for frame in frames for one in _TICKERS.findall(frame.decode())}
        listed = [Instrument(ticker=ticker) for ticker in sorted(tickers)]
        venue = load(token)(listed, [one for one in load(token).feeds if ":" not in one])
        line = Line(0, Route("", ()))
        venue.connected(line)
        received_us = np.full(len(frames), 2_000_000_000_000_000)
        decoded = FrameDecoder(venue, 2**24).frames(frames, [line] * len(frames), received_us, 0)
        assert_read_or_refused(decoded, frames)


# ----------------------------------------------------------------- REST bodies


@each_file
def test_every_single_change_of_a_rest_body_gives_rows_or_a_reason(file: str) -> None:
    story = vectors.story(file)
    reader = Reader(story)
    for step in story.steps:
        if step.is_body:
            for body in (*each_change(step.data), *each_cut(step.data), b"<html>", b""):
                assert_read_or_refused(reader.body(step, body), [body])


@each_venue
def test_every_single_change_of_the_instruments_gives_instruments_or_a_reason(token: str) -> None:
    bodies, _ = vectors.listed(token)
    kind = load(token)
    different: dict[str, Instrument] = {}
    for n, body in enumerate(bodies):
        for wrong in (*each_change(body), *list(each_cut(body))[::5], b"<html>", b""):
            try:
                found = understood(kind.parse_instruments([*bodies[:n], wrong, *bodies[n + 1 :]]))
            except Reject:
                continue
            different.update((repr(one), one) for one in found)
    assert_published(token, list(different.values()))


def assert_published(token: str, instruments: list[Instrument]) -> None:
    """Each instrument whose ticker fits into a subject is a message that readers take."""
    instruments = [one for one in instruments if _fits(one.ticker)]
    venue = load(token)(instruments, ["instrument"])
    session, out = Session(venue), Flush()
    session.list_instruments(instruments, RECEIVED_MS * 1_000_000, out)
    messages = Messages(venue.exchange, token, venue.tickers, 1).of(out)
    for message in messages:
        codec.decode(message.payload, message.subject)
    assert len(messages) >= len({one.ticker for one in instruments})


def _fits(ticker: str) -> bool:
    try:
        subjects.escape(ticker)
    except Reject:
        return False
    return True


@each_venue
@given(bodies=st.lists(st.one_of(st.binary(max_size=40), json_texts()), min_size=1, max_size=3))
def test_any_bytes_as_instruments_give_instruments_or_a_reason(
    token: str, bodies: list[bytes]
) -> None:
    try:
        found = understood(load(token).parse_instruments(bodies))
    except Reject:
        return
    assert_published(token, found)
