"""`tickbus up`: the whole system on this machine, from one command."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tickbus.cli import arguments
from tickbus_schemas.errors import Fatal

from tickbus_runtime.local.local_run import local_run
from tickbus_runtime.local.run_report import nothing_received, shortcomings, summary
from tickbus_runtime.local.stack import Plan
from tickbus_runtime.local.venue_run import VenuePlan
from tickbus_runtime.settings import services
from tickbus_runtime.settings.built import check_built, without_feed
from tickbus_runtime.settings.sections import IngestSettings, NatsSettings
from tickbus_runtime.settings.sources import from_text, load

EXIT_SHORT = 3
"""Nothing was received, or something of a capture not stored; the last lines say what."""

help = "run everything on this machine: NATS, ingest, book, features, writer"

_EXAMPLES = """\
examples:
  tickbus up --exchange binance_usdm --tickers BTCUSDT,ETHUSDT --data ./data
  tickbus up --exchange okx:BTC-USDT,BTC-USDT-SWAP --exchange deribit:BTC-PERPETUAL
  tickbus up --exchange binance_spot --tickers BTCUSDT --duration 60 --json
  tickbus up --exchange okx --tickers BTC-USDT --connections 2
  tickbus up --capture btcusdt.jsonl.gz --speed max --data ./out --json
  tickbus up --config tickbus.toml --nats nats://127.0.0.1:4222

--exchange may be repeated: each venue has an ingest and a stream of its own, and one set of book,
features and writer serves all. 'tickbus venues' lists them, 'tickbus instruments' their tickers.
Ctrl-C drains: everything received is stored and written first. A second Ctrl-C aborts at
once. With --json the last line of standard output is one JSON object; logs of all processes are in
<data>/_log. OTEL_EXPORTER_OTLP_ENDPOINT turns traces on (see 'tickbus trace').
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    add = parser.add_argument
    add("--config", metavar="FILE", help="settings (TOML)")
    add("--exchange", metavar="NAME[:A,B]", action="append", default=[],
        help="e.g. binance_usdm, okx:BTC-USDT; repeat it for more venues")  # fmt: skip
    add("--tickers", metavar="A,B",
        help="of each --exchange that names none, as the venue spells them; * for all")  # fmt: skip
    add("--connections", metavar="N", type=int, help="that carry the same: the fastest one wins")
    add("--capture", metavar="FILE", nargs="+", help="serve recordings instead of the real venue")
    add("--speed", metavar="N|max", help="of the capture (1: as it was recorded)")
    add("--capture-times", action="store_true", help="keep the capture's receive times")
    add("--nats", metavar="URL", help="use this server instead of starting one")
    add("--nats-port", metavar="PORT", type=arguments.port, default=0,
        help="port of our own (0: a free one)")  # fmt: skip
    add("--health-port", metavar="PORT", type=int, help="first of the services' ports (0: free)")
    add("--data", metavar="DIR", help="folder for everything that is written (./data)")
    add("--duration", metavar="S", type=arguments.seconds,
        help="stop, and drain, after so many seconds")  # fmt: skip
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting")
    add("--json", action="store_true", help="end with one JSON object")


def run(args: argparse.Namespace) -> int:
    """0 when everything received is written, 130 when stopped before it began.

    EXIT_SHORT when nothing was received, or a capture had something that could not be stored.
    """
    plan = plan_of(args)
    result, stopped = asyncio.run(local_run(plan, duration_s=args.duration, say=say))
    if result is None:
        return 130
    print(json.dumps(result) if args.json else "\n".join(summary(result)), flush=True)
    whole = plan.venue_ends and not stopped
    short = shortcomings(result) if whole else nothing_received(result)
    if args.json:
        for line in short:
            say(line)
    return EXIT_SHORT if short else 0


def say(line: str) -> None:
    """Print one line for the user; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan of the run; Fatal for wrong arguments."""
    overrides = _overrides(args)
    settings = load(args.config, overrides=overrides)
    overrides["data_dir"] = str(Path(settings.data_dir).absolute())
    venues = venues_of(args.exchange or settings.venues, settings.ingest.tickers)
    check_built(
        [venue.overrides["ingest.exchange"] for venue in venues] or [settings.ingest.exchange]
    )
    if why := services.no_ports(settings.health.port, len(venues)):
        raise Fatal(why)
    wanted = [  # a mistake is told now
        load(args.config, overrides={**overrides, **venue.overrides}).ingest for venue in venues
    ]
    simulated = _simulated(args, venues, overrides)
    if len(venues) < 2:
        overrides |= venues[0].overrides if venues else {}
        venues = [VenuePlan(simulated=simulated)]
    else:  # one shard each, named after the exchange
        venues = [
            VenuePlan({**one.overrides, "shard": "", "ingest.feeds": own_feeds(ingest)})
            for one, ingest in zip(venues, wanted, strict=True)
        ]
    return Plan(
        settings=lambda values, offers: load(args.config, overrides=values, offers=offers),
        config=args.config,
        embedded=settings.nats.url == NatsSettings().url,
        nats_port=args.nats_port,
        venues=venues,
        venue_ends=bool(args.capture),
        overrides=overrides,
    )


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for pair in args.set:
        key, equals, text = pair.partition("=")
        if not equals:
            raise Fatal(f"--set {pair}: write KEY=VALUE, e.g. --set ingest.linger_ms=5")
        overrides[key.strip()] = from_text(key.strip(), text)
    given = {
        "ingest.tickers": args.tickers and from_text("ingest.tickers", args.tickers),
        "ingest.connections": args.connections,
        "nats.url": args.nats,
        "health.port": args.health_port,
        "data_dir": args.data,
        "ingest.capture_times": args.capture_times or None,
    }
    return overrides | {key: value for key, value in given.items() if value is not None}


def venues_of(named: list[str], tickers: list[str]) -> list[VenuePlan]:
    """A plan for each exchange of `NAME` or `NAME:TICKER,TICKER`; one named twice gets both lists.

    tickers: of those that name none themselves.
    """
    found: dict[str, list[str]] = {}
    for text in named:
        exchange, colon, own = text.partition(":")
        asked = from_text("ingest.tickers", own) if colon else list(tickers)
        if colon and not asked:
            raise Fatal(f"--exchange {text}: write NAME:TICKER,TICKER, or only the name")
        held = found.setdefault(exchange.strip(), [])
        held += [ticker for ticker in asked if ticker not in held]
    return [
        VenuePlan({"ingest.exchange": name, **({"ingest.tickers": own} if own else {})})
        for name, own in found.items()
    ]


def own_feeds(ingest: IngestSettings) -> list[str]:
    """The wanted feeds that one venue of several has; the others are named."""
    missing = without_feed(ingest.exchange, ingest.feeds)
    if missing:
        say(f"{ingest.exchange} has no {', '.join(missing)}: the other feeds are taken of it")
    own = [feed for feed in ingest.feeds if feed not in missing]
    if not own:
        raise Fatal(f"{ingest.exchange} has none of ingest.feeds: {', '.join(ingest.feeds)}")
    return own


def _simulated(
    args: argparse.Namespace, venues: list[VenuePlan], overrides: dict[str, Any]
) -> list[str]:
    """Arguments of the simulated venue that serves the captures, if any are named."""
    if not args.capture:
        if args.capture_times or args.speed is not None:
            raise Fatal("--speed and --capture-times need --capture FILE")
        return []
    for name in args.capture:
        if not Path(name).exists():
            raise Fatal(f"no such capture: {name}")
    if len(venues) > 1:
        raise Fatal("a capture is of one venue: name one --exchange, or none")
    speed = "1" if args.speed is None else args.speed
    _check_speed(speed)
    told = ["--capture", *args.capture, "--speed", speed]
    # An exchange that the command line names, by either option, must be the capture's.
    named = venues[0].overrides if venues else overrides
    if args.exchange or "ingest.exchange" in overrides:
        told += ["--exchange", named["ingest.exchange"]]
    return told + (["--capture-times"] if args.capture_times else [])


def _check_speed(text: str) -> None:
    if text == "max":
        return
    try:
        good = 0 < float(text) < float("inf")
    except ValueError:
        good = False
    if not good:
        raise Fatal(f"--speed {text}: a number above 0, or max")
