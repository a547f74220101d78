"""How lines did: what is shown of it, which of them are replaced, and where each of them goes."""

from __future__ import annotations

from typing import Any

import pytest
from tickbus_ingest.lines.dialer import at_host, in_turn
from tickbus_ingest.publish.line_reports import AGAIN_FIRST_S, LineReports
from tickbus_ingest.session.race import LineReport
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Connected, Frames
from tickbus_ingest.wire.socket import check_local
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Fatal

from tests.ingest.made import T0_MS, frames, made, quote, trade

NS = 1_000_000
TICKERS = [Instrument(ticker="A")]


def test_the_race_tells_who_was_first_by_how_much_and_what_never_came() -> None:
    venue = made()(TICKERS, ("trade", "bbo"))
    session, out = Session(venue), Flush()
    (route,) = venue.routes()
    for number in range(2):
        session.notice(Connected(Line(number, route, name=f"0.{number}"), T0_MS * NS), out)
    events = frames(*(trade(n, n) for n in range(1, 11)), quote(1, 20))
    session.receive(_batch([(0, events[0], 0), (1, events[0], 1)]), out)
    session.receive(_batch([(0, one, 10 * n) for n, one in enumerate(events[1:], 1)]), out)
    later = [(1, one, 10 * n + 5) for n, one in enumerate(events[1:], 1) if n not in (3, 4)]
    session.receive(_batch(later), out)
    first, second = session.report_lines((T0_MS + 60_000) * 1000, out)
    assert (first.name, first.wins, first.drops, first.gaps) == ("0.0", 11, 0, 0)
    assert (second.name, second.wins, second.drops, second.gaps) == ("0.1", 0, 9, 2)
    assert first.lead_us == second.behind_us == (5_000, 5_000)
    said = [row for row in out.statuses if row.reason.startswith("0.1 wins=0 drops=9 gaps=2 ")]
    assert [row.line for row in said] == [1]
    again = session.report_lines((T0_MS + 120_000) * 1000, out)
    assert [(one.wins, one.drops, one.gaps) for one in again] == [(0, 0, 0), (0, 0, 0)]


def test_a_line_alone_runs_no_race() -> None:
    venue = made()(TICKERS, ("trade",))
    session, out = Session(venue), Flush()
    session.notice(Connected(Line(0, venue.routes()[0], name="0.0"), T0_MS * NS), out)
    session.receive(_batch([(0, one, n) for n, one in enumerate(frames(trade(1, 1)))]), out)
    assert session.report_lines((T0_MS + 60_000) * 1000, out) == []


def test_a_line_that_falls_behind_is_replaced_and_ever_later_if_that_does_not_help() -> None:
    telemetry, status = Telemetry(), dict[str, Any]()
    reports = LineReports(telemetry, status)
    good = LineReport("0.0", 0, 900, 100, 0, (1_500_000, 2_000_000), (90, 900))
    late = LineReport("0.1", 1, 100, 900, 0, (90, 900), (1_500_000, 2_000_000))
    assert reports.show([good, late], 0.0) == [late]
    assert reports.show([good, late], AGAIN_FIRST_S - 1) == []
    assert reports.show([good, late], AGAIN_FIRST_S) == [late]
    assert reports.show([good, late], 2.5 * AGAIN_FIRST_S) == [], "twice the pause"
    deaf = LineReport("1.1", 3, 10, 50, 40)
    assert reports.show([deaf], 0.0) == [deaf]
    assert reports.show([LineReport("1.0", 2, 0, 0, 9)], 0.0) == [], "too few events to tell"
    assert telemetry.counters["line_gaps", (("line", "1.1"),)] == 40
    assert telemetry.gauges["line_lead", (("line", "0.0"), ("quantile", "0.99"))] == 2_000_000
    assert status["lines"]["0.1"]["total"] == {"wins": 400, "drops": 3600, "gaps": 0}


def test_connections_go_to_the_hosts_in_turn() -> None:
    url = "wss://stream.example.org:9443/ws?a=1"
    hosts = ["venue", "other.example.org", "ws://127.0.0.1:80/"]
    assert [at_host(url, in_turn(hosts, place)) for place in range(4)] == [
        url, "wss://other.example.org/ws?a=1", "ws://127.0.0.1:80/ws?a=1", url,
    ]  # fmt: skip
    assert at_host(url, in_turn([], 1)) == url


@pytest.mark.parametrize(
    ("address", "why"),
    [("localhost", "is no IP address"), ("192.0.2.1", "is no address of this machine")],
)
def test_an_address_that_is_not_ours_is_a_mistake(address: str, why: str) -> None:
    check_local(["127.0.0.1"])
    with pytest.raises(Fatal, match=f"ingest.bind: .*{address}.* {why}"):
        check_local(["127.0.0.1", address])


def _batch(arrived: list[tuple[int, bytes, int]]) -> Frames:
    """(line, frame, ms) each."""
    batch = Frames()
    for line, data, ms in arrived:
        batch.data.append(data)
        batch.line.append(line)
        batch.received_ns.append((T0_MS + ms) * NS)
        batch.size += len(data)
    return batch
