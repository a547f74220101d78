"""Tickers that come and go: what a list decides, and that whoever comes later is as the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.lines.following import Following
from tickbus_ingest.lines.polls import Polls
from tickbus_ingest.venue.contract import Get, Line, Poll, Route
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.wire.socket import END_OF_INPUT
from tickbus_schemas.messages import InstrumentStatus, StatusKind
from websockets.asyncio.server import ServerConnection

from tests.ingest import kinds, made
from tests.ingest.made import book, forced, frames, quote, trade, update
from tests.ingest.plain_venue import plain
from tests.ingest.serving import dialer, lines_of, server, until
from tests.ingest.serving import trade as trade_frame
from tests.ingest.venues.playing import Player
from tests.ingest.venues.vectors import Row

# ----------------------------------------------------------------------- decision


def listed(*tickers: str, **statuses: InstrumentStatus) -> list[Instrument]:
    found = [Instrument(ticker=ticker) for ticker in tickers]
    return found + [Instrument(ticker=ticker, status=one) for ticker, one in statuses.items()]


def following(*wanted: str, taken: str = "AB") -> Following:
    return Following(wanted, "binance_usdm", listed(*taken))


def names(instruments: list[Instrument]) -> list[str]:
    return [one.ticker for one in instruments]


def test_what_fits_comes_and_what_was_named_stays_alone() -> None:
    assert names(following("*").look(listed("A", "B", "C")).come) == ["C"]
    assert names(following("A*", taken="A").look(listed("A", "AX", "B")).come) == ["AX"]
    assert not following("A", "B").is_needed
    assert following("A", "B*").is_needed


def test_a_ticker_goes_at_once_where_the_list_says_so_and_after_two_lists_without_it() -> None:
    own = following("*")
    changes = own.look(listed("A", B=InstrumentStatus.DELISTED))
    assert (changes.gone, changes.ended) == (["B"], [])
    assert own.look(listed("A", B=InstrumentStatus.DELISTED)).gone == []
    own = following("*")
    assert own.look(listed("A")).gone == []
    assert own.look(listed("A", "B")).gone == []
    assert own.look(listed("A")).gone == []  # it was there meanwhile
    changes = own.look(listed("A"))
    assert changes.gone == ["B"]
    (ended,) = changes.ended
    assert (ended.ticker, ended.status) == ("B", InstrumentStatus.DELISTED)
    assert names(own.taken) == ["A"]
    assert names(own.look(listed("A", "B")).come) == ["B"]  # listed again


def test_one_that_is_halted_stays_and_one_that_is_not_traded_yet_waits() -> None:
    own = following("*")
    changes = own.look(listed("A", B=InstrumentStatus.HALTED, C=InstrumentStatus.PRE_LAUNCH))
    assert (changes.come, changes.gone) == ([], [])
    assert names(own.look(listed("A", "B", "C")).come) == ["C"]


def test_a_list_with_none_of_ours_changes_nothing_and_says_why() -> None:
    own = following("B*", taken="B")
    for _ in range(3):
        changes = own.look(listed("A"))
        assert (changes.come, changes.gone) == ([], [])
        assert "fits 'B*'" in changes.why_not


# ------------------------------------------------------------------------- session

KINDS = [
    kinds.LINKED, kinds.COUNTED, kinds.WHOLE_FRAMES, kinds.CHECKED, kinds.KEYED, kinds.PULLED,
]  # fmt: skip


def events(ticker: str, first: int, count: int) -> list[Any]:
    """Some of everything that a venue says of a ticker."""
    found: list[Any] = [book(first, first, [(100, 1)], [(101, 1)], ticker=ticker)]
    for own in range(first + 1, first + 1 + count):
        found += [
            update(own - 1, own, own, [(100, own)], ticker=ticker),
            trade(own, own, ticker=ticker),
            quote(own, own, ticker=ticker),
            forced(own, ticker=ticker),
        ]
    return found


def rows(player: Player) -> dict[tuple[str, str], list[Row]]:
    """What was published, but statuses of connections, which differ."""
    found: dict[tuple[str, str], list[Row]] = {}
    for feed, own in player.published.items():
        for row in own:
            if feed != "status" or row["kind"] not in (StatusKind.CONNECTED, StatusKind.NOTICE):
                found.setdefault((feed, row["ticker"]), []).append(row)
    return found


@pytest.mark.parametrize("kind", KINDS)
@given(before=st.integers(0, 4), count=st.integers(1, 4))
def test_a_ticker_that_comes_later_is_published_like_one_from_the_start(
    kind: Any, before: int, count: int
) -> None:
    grown, whole = made.play(kind, tickers=("A",)), made.play(kind, tickers=("A", "B", "C"))
    first, then = frames(*events("A", 10, before)), [*events("B", 50, count), *events("C", 70, 1)]
    for player in (grown, whole):
        player.say(first)
    grown.venue.extend(listed("B", "C"))
    grown.session.grow()
    grown.messages.grow(grown.venue.tickers)
    for player in (grown, whole):
        player.say(frames(*then, *events("A", 30, count)))
        player.wait(60, settle=True)
    assert rows(grown) == rows(whole)
    assert ("trade", "C") in rows(grown)
    assert grown.accounted() == grown.frames


def test_a_ticker_that_went_and_comes_back_has_a_gap_where_nobody_listened() -> None:
    player = made.play(kinds.LINKED, tickers=("A",))
    player.say(frames(*events("A", 10, 2)))
    out = player.notice()
    player.session.leave(["A"], "the venue lists it no more", 1_760_000_000_100_000, out)
    player._take([out])
    assert [one["reason"] for one in player.statuses(StatusKind.NOTICE, "")] == [
        "the venue lists it no more"
    ]
    assert not player.asked
    assert not player.resubscribed
    player.say(frames(*events("A", 40, 2)))
    assert player.gaps("l2")
    assert player.gaps("trade") == [(12, 41)]


# --------------------------------------------------------------------------- lines


@pytest.mark.connected
async def test_new_routes_are_opened_and_dropped_tickers_unsubscribed_or_hung_up() -> None:
    heard: list[tuple[int, str]] = []
    ended: list[int] = []

    async def listen(connection: ServerConnection) -> None:
        number = len({one for one, _ in heard})
        async for text in connection:
            heard.append((number, str(text)))
            await connection.send('{"ok":1}')
        ended.append(number)

    async with server(listen) as url, asyncio.timeout(30):
        lines = lines_of(dialer(url, "websockets", Buffer(100, 10_000), venue=plain("A", "B")))
        running = asyncio.create_task(lines.run())
        await until(lambda: len(heard) == 2)
        lines.add(plain("C").routes())
        await until(lambda: len(heard) == 3)
        assert heard[2] == (1, '{"subscribe": "trade.C"}')
        assert not ended
        lines.drop(["B"])
        await until(lambda: len(heard) == 4)
        assert heard[3] == (0, '{"unsubscribe": "trade.B"}')
        assert [one.name for one in lines.streams] == ["trade.A", "trade.C"]
        lines.drop(["C"])
        await until(lambda: ended == [1])
        assert not running.done()
        assert [one.name for one in lines.streams] == ["trade.A"]
        lines.drop(["A"])
        await running  # nothing is left to be kept open
        assert sorted(ended) == [0, 1]


@pytest.mark.connected
async def test_a_line_that_breaks_asks_for_what_is_still_wanted() -> None:
    heard: list[list[str]] = []

    async def listen(connection: ServerConnection) -> None:
        own: list[str] = []
        heard.append(own)
        async for text in connection:
            own.append(str(text))
            await connection.send('{"ok":1}')
            if "unsubscribe" in str(text):
                connection.transport.abort()
            elif len(heard) == 2:
                await connection.close(END_OF_INPUT)

    async with server(listen) as url, asyncio.timeout(30):
        lines = lines_of(dialer(url, "websockets", Buffer(100, 10_000), venue=plain("A", "B")))
        running = asyncio.create_task(lines.run())
        await until(lambda: heard and len(heard[0]) == 2)
        lines.drop(["A"])
        await running
    assert heard[1] == ['{"subscribe": "trade.B"}']


@pytest.mark.connected
@pytest.mark.parametrize(("dropped", "left"), [("A", ["B"]), ("AB", [])])
async def test_tickers_that_go_while_a_line_is_opened_are_not_carried_by_it(
    dropped: str, left: list[str]
) -> None:
    heard: list[list[str]] = []
    asked, allowed = asyncio.Event(), asyncio.Event()

    async def hold(*_: Any) -> None:
        asked.set()
        await allowed.wait()

    async def listen(connection: ServerConnection) -> None:
        own: list[str] = []
        heard.append(own)
        async for text in connection:
            own.append(str(text))
            await connection.send('{"ok":1}')
            await connection.send(trade_frame(len(own)))

    async with server(listen, process_request=hold) as url, asyncio.timeout(30):
        lines = lines_of(dialer(url, "websockets", Buffer(100, 10_000), venue=plain("A", "B")))
        running = asyncio.create_task(lines.run())
        await asked.wait()
        lines.drop(list(dropped))
        allowed.set()
        if not left:
            await running
            assert not any(heard)
            return
        await until(lambda: heard and heard[-1] == [f'{{"subscribe": "trade.{left[0]}"}}'])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await lines.close()


async def test_polls_that_change_are_asked_for_from_then_on() -> None:
    asked: list[str] = []

    class Fixed:
        def begin(self, get: Get, buffer: Buffer) -> asyncio.Task[bool]:
            asked.append(get.path)
            return asyncio.create_task(asyncio.sleep(0, result=True))

    polls = Polls([], Fixed(), Buffer(9, 999))  # type: ignore[arg-type]  # asks in this process
    running = asyncio.create_task(polls.run())
    async with asyncio.timeout(20):
        await asyncio.sleep(0)
        polls.change([Poll(Get("/a"), 0.01)])
        await until(lambda: len(asked) >= 3)
        polls.change([Poll(Get("/b"), 0.01)])
        before = len(asked)
        await until(lambda: len(asked) >= before + 3)
    running.cancel()
    assert set(asked[:3]) == {"/a"}
    assert set(asked[before:]) == {"/b"}


def test_a_line_of_a_dropped_ticker_loses_nothing_when_it_breaks() -> None:
    line = Line(0, Route("", plain("A", "B").routes()[0].streams))
    player = Player(plain("A", "B"), [line])
    player.say([b'{"trade":1}'])
    line.route = Route("", ())
    player.disconnect(0)
    assert not player.statuses(StatusKind.DISCONNECTED, "")
