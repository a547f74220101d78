"""A venue that counts what each connection is sent: numbers on the wire tell what was lost."""

from __future__ import annotations

import asyncio
import json

from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects
from tickbus_sim.dialect import Dialect, Line, Topic
from tickbus_sim.faults import Fault, Faults, Schedule
from tickbus_sim.market import Market
from tickbus_sim.market_venue import MarketVenue
from tickbus_sim.venue import Serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PUSHING = dialects.load(Exchange.OKX)
START_MS = 1_700_000_000_000


class Counting(type(PUSHING)):  # type: ignore[misc]  # the class of a dialect found by its name
    """Pushes its books, and numbers every frame with data from 0 on each connection."""

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        number = line.memory["number"] = line.memory.get("number", -1) + 1
        return b'{"number":%d,"of":%b}' % (number, text)


async def _played(*faults: Fault) -> list[tuple[int, bytes]]:
    """Number and text of all data that a client of books and quotes hears in 3 s of the market."""
    dialect: Dialect = Counting()
    ticker = dialect.demo[0]
    market = Market(dialect, [ticker], seed=3, rate=300, start_ms=START_MS)
    damage = Faults(Schedule(list(faults)), market.topics, 0, dialect.identity)
    venue = MarketVenue(
        market, Serving(speed=None, subscribe_wait_s=0.2), damage, duration_s=3, start_ms=START_MS
    )
    facts = await venue.open()
    running = asyncio.create_task(venue.run())
    heard: list[tuple[int, bytes]] = []
    try:
        async with connect(facts["ws"] + dialect.routes[0], max_size=None) as socket:
            args = [{"channel": one, "instId": ticker} for one in ("books", "bbo-tbt")]
            await socket.send(json.dumps({"op": "subscribe", "args": args}))
            while True:
                text = await socket.recv(decode=False)
                if text.startswith(b'{"number":'):
                    number, _, of = text.removeprefix(b'{"number":').partition(b',"of":')
                    heard.append((int(number), of))
    except ConnectionClosed:
        await running
    finally:
        running.cancel()
        await venue.close()
    return heard


async def test_a_pushed_book_is_counted_as_every_other_frame() -> None:
    heard = await _played()

    assert b'"snapshot"' in heard[0][1]
    assert [number for number, _ in heard] == list(range(len(heard)))
    assert len(heard) > 30


async def test_a_lost_frame_takes_its_number_with_it() -> None:
    whole = await _played()
    left = await _played(Fault("drop", at=1.0, count=2, channel="books"))

    missing = set(range(len(whole))) - {number for number, _ in left}
    assert len(missing) == 2
    assert all(b'"books"' in whole[number][1] for number in missing)
    assert left == [(number, text) for number, text in whole if number not in missing]


async def test_frames_out_of_order_keep_their_numbers() -> None:
    whole = await _played()
    mixed = await _played(Fault("reorder", at=1.0, count=4, channel="books"))

    assert sorted(mixed) == whole != mixed
    moved = [was for was, now in zip(whole, mixed, strict=True) if was != now]
    assert len(moved) >= 2
