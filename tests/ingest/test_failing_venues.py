"""A venue's file that fails: one line that names it, a counter, and everything else goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger
from tickbus.log.connection import Connection
from tickbus_ingest import exchanges
from tickbus_ingest.lines.fetcher import Fetcher
from tickbus_ingest.lines.listing import Listing
from tickbus_ingest.serve import serve
from tickbus_ingest.venue.contract import Get, Line, Route, Stream, Venue
from tickbus_ingest.venue.guard import Failures, guard, made
from tickbus_ingest.venue.rows import Rows
from tickbus_runtime.bus import streams
from tickbus_runtime.service.process import Context
from tickbus_runtime.settings.sections import IngestSettings, Settings
from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.messages import ABSENT, Clock

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.serving import until
from tests.ingest.test_service import capture, sim
from tests.ingest.venues.playing import Player

LINE = Line(0, Route("", ()))


def _fails(*_: Any) -> Any:
    raise ZeroDivisionError("a mistake\nof two lines")


GIVEN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "greet": ((), []),
    "subscribe": (([Stream("x", "A", ("trade",))],), []),
    "unsubscribe": (([],), []),
    "polls": ((), []),
    "checksum": ((None, None), ABSENT),
    "hold_s": ((429, {"Retry-After": "7"}), 7.0),
    "connected": ((LINE,), None),
}
"""function -> what it is called with, and what a failure gives instead"""


@pytest.mark.parametrize("name", GIVEN)
def test_a_failing_function_gives_what_does_least_and_a_line(name: str) -> None:
    failing = type("Failing", (PlainVenue,), {name: _fails})
    venue, failures = plain("A", kind=failing), Failures()
    guard(venue, failures)
    values, instead = GIVEN[name]
    LINE.memory["x"] = 1
    assert [getattr(venue, name)(*values) for _ in range(3)] == [instead] * 3
    assert ("x" in LINE.memory) == (name != "connected")
    counts, (line,) = failures.take()
    assert counts == {name: 3}
    said = "a mistake of two lines"
    assert line == f"the venue's file failed: binance_usdm.{name}: ZeroDivisionError: {said}"
    getattr(venue, name)(*values)
    assert failures.take() == ({name: 1}, [])  # said once, counted always


class OtherKinds(PlainVenue):
    """Gives things of other types than it should, and fails where nothing stands instead."""

    def subscribe(self, streams: Any) -> Any:
        return None

    def snapshot_request(self, ticker: str, levels: int) -> Get | None:
        raise KeyError(ticker)

    def address(self, body: bytes) -> str:
        raise Reject("no address") if not body else ValueError("odd")

    def routes(self) -> Any:
        return 7

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        rows.trade("A", 1_760_000_000_000, 1, 1, 1.0, 1.0)
        raise RuntimeError("lost its way")


def test_what_cannot_be_given_otherwise_is_refused_or_ends_the_start_with_one_line() -> None:
    venue, failures = plain("A", kind=OtherKinds), Failures()
    guard(venue, failures)
    assert venue.subscribe([]) == []
    with pytest.raises(Reject, match=r"binance_usdm\.snapshot_request: KeyError: 'A'"):
        venue.snapshot_request("A", 0)
    with pytest.raises(Reject, match=r"^no address$"):
        venue.address(b"")
    with pytest.raises(Reject, match=r"binance_usdm\.address: ValueError: odd"):
        venue.address(b"x")
    with pytest.raises(Fatal, match=r"binance_usdm\.routes: TypeError"):
        venue.routes()


def test_a_frame_on_which_a_file_fails_is_a_counted_refusal_that_names_it() -> None:
    player = Player(plain("A", kind=OtherKinds), [LINE])
    player.say([b"{}"])
    assert player.refused == [
        "the venue's file failed: binance_usdm.read: RuntimeError: lost its way"
    ]
    assert player.fates == {("refused", ""): 1}
    assert "trade" not in player.published


def test_a_file_that_cannot_be_made_or_loaded_ends_the_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unmade(PlainVenue):
        def __init__(self, *_: Any) -> None:
            raise IndexError("nothing there")

    with pytest.raises(Fatal, match=r"binance_usdm\.__init__: IndexError: nothing there"):
        made(Unmade, [], ["trade"])
    (tmp_path / "unloaded_venue.py").write_text("raise OSError('no such thing')")
    monkeypatch.setattr(exchanges, "__path__", [*exchanges.__path__, str(tmp_path)])
    with pytest.raises(Fatal, match=r"the venue's file failed: unloaded_venue: OSError: no such"):
        exchanges.load("unloaded_venue")


@pytest.mark.parametrize("name", ["instruments_requests", "parse_instruments"])
async def test_a_list_of_instruments_on_which_a_file_fails_is_refused(name: str) -> None:
    kind = type("Kind", (PlainVenue,), {name: classmethod(_fails)})

    class Fixed(Fetcher):
        def __init__(self) -> None:
            pass

        async def get(self, request: Get, source: str) -> Any:
            return type("Answer", (), {"data": b'["A"]', "received_ns": 1})

    listing = Listing(kind, Fixed(), CapturingLogger(), lambda _: None)
    with pytest.raises(Reject, match=f"{name}: ZeroDivisionError"):
        await listing.ask()


# ---------------------------------------------------------------- the whole service


class Run:
    """The service in this process."""

    def __init__(self, bus: Connection, facts: dict[str, Any], folder: Path) -> None:
        settings = Settings(
            data_dir=str(folder),
            ingest=IngestSettings(
                exchange=facts["exchange"],
                tickers=list(facts["tickers"]),
                feeds=list(facts["feeds"]),
                ws_url=facts["ws"],
                rest_url=facts["rest"],
                limits=False,
                raw=False,
            ),
        )
        self.log = CapturingLogger()
        self.ctx = Context("ingest", settings, self.log)
        self.ctx.nc = bus

    def lines(self) -> list[str]:
        return [str(call.args[0]) for call in self.log.calls if call.method_name == "error"]


@pytest.mark.connected
@pytest.mark.parametrize("name", ["subscribe", "greet", "snapshot_request", "polls", "connected"])
async def test_a_failing_function_ends_no_service(
    captures: Path, bus: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind: type[Venue] = exchanges.load("binance_usdm")
    monkeypatch.setattr(kind, name, _fails)
    settings = Settings()
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        run = Run(bus, venue.facts, tmp_path)
        serving = asyncio.create_task(serve(run.ctx))
        said = f"the venue's file failed: binance_usdm.{name}: ZeroDivisionError"
        async with asyncio.timeout(60):
            await until(lambda: serving.done() or any(said in line for line in run.lines()))
        assert not serving.done()
        run.ctx.stopping.set()
        await serving
    counted = run.ctx.telemetry.status()["counters"]
    assert counted[f"venue_failures{{function={name}}}"] >= 1


@pytest.mark.connected
async def test_a_refresh_of_the_list_that_dies_ends_the_service_with_a_line_and_all_is_stored(
    captures: Path, bus: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        await asyncio.sleep(0.5)
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(Listing, "keep", dies)
    settings = Settings()
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        run = Run(bus, venue.facts, tmp_path)
        with pytest.raises(Fatal, match="refresh of the list of instruments ended: RuntimeError"):
            async with asyncio.timeout(60):
                await serve(run.ctx)
    last = await bus.jetstream().get_last_msg("MD_BINANCE_USDM", "clock.binance_usdm")
    message = codec.decode(last.data or b"")
    assert isinstance(message, Clock)
    assert message.final
