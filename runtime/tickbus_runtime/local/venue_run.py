"""One venue of a run: its settings, its ingest, and the simulated venue that may stand for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import msgspec
from tickbus.log.connection import Connection
from tickbus_schemas.errors import Fatal

from tickbus_runtime.bus.clock import first_event_us, last_clock_us
from tickbus_runtime.local.lives import Lives
from tickbus_runtime.local.programs import VENUE, venue_program
from tickbus_runtime.local.run_report import ODD_PARTS, lines_of_a_capture, printable
from tickbus_runtime.local.supervise import Program
from tickbus_runtime.settings.sections import Settings, Shard
from tickbus_runtime.settings.sources import Overrides

CLOCKS_DIFFER_US = 60_000_000
"""A recorder's clock may be so far ahead of the venue's."""
FIRST_DIFFERS_US = 5_000_000
"""It may be so far behind."""

INGEST = "ingest"


class VenuePlan(NamedTuple):
    """What is taken of one venue."""

    overrides: Overrides = MappingProxyType({})
    """settings of its ingest alone: exchange, tickers"""
    simulated: Sequence[str] = ()
    """arguments of the simulated venue; none: the real one"""


class VenueRun:
    """The ingest of one venue in a run, and what its capture or simulated venue says of itself."""

    def __init__(
        self,
        plan: VenuePlan,
        load: Callable[[Overrides, Overrides], Settings],
        common: Overrides,
        say: Callable[[str], None],
        *,
        ends: bool,
        alone: bool,
    ) -> None:
        """`load`: settings of overrides and offers. `common`: overrides of the whole run.

        `ends`: the simulated venue plays a capture. `alone`: it is the run's only venue.
        """
        self.plan, self._load, self._say, self._ends = plan, load, say, ends
        self.overrides = {**common, **plan.overrides}
        self._offers: dict[str, Any] = {}
        """what the simulated venue has"""
        self.settings = load(self.overrides, {})
        exchange = self.settings.ingest.exchange
        self.ingest = INGEST if alone else f"{INGEST}-{exchange}"
        """name of its process"""
        self.simulator = VENUE if alone else f"{VENUE}-{exchange}"
        self.instrument_lists = 0
        self.left_out: dict[str, int] = {}
        """channel -> frames of a capture that are no feed"""
        self.bad_lines = 0
        self.odd_parts: dict[str, int] = {}
        self._first_us = self._last_us = 0
        """receive times of a capture's first and last frame"""

    @property
    def shard(self) -> Shard:
        """Its shard: one a venue."""
        return self.settings.of_shard

    def served(self, facts: asyncio.Future[Mapping[str, Any]], data_dir: Path) -> Program:
        """The simulated venue; its first line of output becomes the result of `facts`."""

        def printed(line: str) -> None:
            if not facts.done():
                facts.set_result(msgspec.json.decode(line))

        return venue_program(self.plan.simulated, data_dir, printed, self.simulator)

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """The simulated venue is there: what it has, and where it listens."""
        # What the user asked for goes before it: fewer tickers, or a mistake.
        self._offers = {
            "ingest.tickers": list(facts["tickers"]),
            "ingest.feeds": list(facts["feeds"]),
        }
        if facts.get("lists_instruments"):
            self._offers["ingest.feeds"].append("instrument")
        asked = self._load(self.overrides, {"ingest.exchange": facts["exchange"]}).ingest
        self.overrides = {
            "ingest.exchange": facts["exchange"],
            **self.overrides,
            "ingest.ws_url": facts["ws"],
            "ingest.rest_url": facts["rest"],
            "ingest.stop_at_end": self._ends,
            "ingest.limits": False,
        }
        self.instrument_lists = int(facts.get("instrument_lists", 0))
        self.left_out = dict(facts.get("other", {}))
        self.bad_lines = int(facts.get("bad_lines", 0))
        self.odd_parts = {name: int(facts.get(name, 0)) for name in ODD_PARTS}
        self._first_us = (facts.get("first_ns") or 0) // 1000
        self._last_us = (facts.get("last_ns") or 0) // 1000
        self._say(f"venue {facts['exchange']} at {facts['ws']}: {_some(facts['tickers'])}")
        self._say_unused(facts["exchange"], asked)
        self._say_left_out(facts)

    def settle(self, common: Overrides) -> None:
        """The settings are complete. `common`: overrides of the run that are known by now.

        Fatal when nothing is asked for, or the simulated venue has nothing of it.
        """
        self.overrides = {**self.overrides, **common}
        self.settings = self._load(self.overrides, self._offers)
        ingest = self.settings.ingest
        self.overrides |= {"ingest.tickers": ingest.tickers, "ingest.feeds": ingest.feeds}
        offered = self._offers.get("ingest.feeds", ingest.feeds)
        missing = ", ".join(feed for feed in ingest.feeds if feed not in offered)
        if missing:
            said = f"the venue has no {missing} to give; it has {', '.join(offered)}"
            if not set(ingest.feeds) & set(offered):
                raise Fatal(
                    f"{said}: name some of these in ingest.feeds, or leave it unset for all"
                )
            self._say(said)
        if not ingest.tickers:
            raise Fatal(
                f"no tickers of {ingest.exchange}: name them with --tickers, or as --exchange "
                f"{ingest.exchange}:TICKER,TICKER (* for all; 'tickbus instruments "
                f"{ingest.exchange}' lists them)"
            )

    async def refuse_the_past(self, nc: Connection) -> None:
        """Fatal for a capture that begins or ends before what is stored.

        What it holds of an earlier time would look repeated.
        """
        if not self._last_us:
            return
        shard, js = self.shard, nc.jetstream()
        stored_us = await last_clock_us(js, shard.md, shard.name)
        if self._last_us + CLOCKS_DIFFER_US < stored_us:
            self._refuse("up to", stored_us, "ends", self._last_us)
        stored_us = await first_event_us(js, shard.md, shard.exchange.token)
        if self._first_us + FIRST_DIFFERS_US < stored_us:
            self._refuse("from", stored_us, "begins", self._first_us)

    def _refuse(self, bound: str, stored_us: int, word: str, capture_us: int) -> NoReturn:
        stored, own = (
            f"{datetime.fromtimestamp(time_us // 10**6, UTC):%Y-%m-%d %H:%M:%S}"
            for time_us in (stored_us, capture_us)
        )
        raise Fatal(
            f"{self.settings.data_dir} holds {self.shard.name} {bound} {stored}, and the "
            f"capture {word} at {own}: name another folder with --data"
        )

    def why_silent(self, lives: Lives, last_warning: str, log: Path) -> str:
        """Why ingest received nothing, if it did not, and where to look."""
        if set(self.settings.ingest.feeds) <= {"instrument"}:
            return ""  # lists do not count as frames
        begun = lives.latest(self.ingest).get("checks", {}).get("started")
        silent = "the venue sent nothing" if begun else "the venue's list of instruments is awaited"
        return f"{last_warning or silent}; see {log}"

    def _say_unused(self, exchange: str, asked: Any) -> None:
        """Name the settings that say where data comes from: here the venue says it."""
        source = "capture" if self._ends else "simulated venue"
        if asked.exchange != exchange:
            setting = f"ingest.exchange = {asked.exchange}"
            self._say(f"the {source} is of {exchange}: the setting {setting} is not used")
        for name in ("ws_url", "rest_url"):
            if getattr(asked, name):
                self._say(f"a {source} is served here: the setting ingest.{name} is not used")

    def _say_left_out(self, facts: Mapping[str, Any]) -> None:
        """Name what a capture holds and nobody reads; Fatal when that is all of it."""
        left_out = ", ".join(f"{name} ({count:,} frames)" for name, count in self.left_out.items())
        if not facts["feeds"]:
            held = left_out or "no frame of a known channel"
            raise Fatal(
                f"the capture holds no feed of {facts['exchange']}: {held}; record trades, book "
                "updates or best quotes, or name the right --exchange"
            )
        if self.bad_lines:
            lost = lines_of_a_capture(self.bad_lines)
            self._say(f"{lost}; the first: {printable(facts['first_bad_line'])}")
        if left_out:
            self._say(f"left out, no feed or said by another channel: {left_out}")


def _some(tickers: Sequence[str], most: int = 10) -> str:
    """The first of many."""
    more = f" and {len(tickers) - most} more" if len(tickers) > most else ""
    return ", ".join(tickers[:most]) + more
