"""Runs a venue on this machine: `python -m tickbus_sim --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import signal
import sys
from pathlib import Path
from typing import IO, Any

import msgspec
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialects
from tickbus_sim.capture import read_capture
from tickbus_sim.capture_venue import CaptureVenue, capture_facts
from tickbus_sim.faults import Faults, read_schedule
from tickbus_sim.market import CALM, Burst, Market, Season
from tickbus_sim.market_venue import MarketVenue
from tickbus_sim.venue import Serving, Venue

_TICKER = re.compile(r"[A-Za-z0-9]+(?:[-/_:][A-Za-z0-9]+)*")
_CANNOT = 2  # exit code: the job cannot be done as asked

_EXAMPLES = """
examples:
  # a capture with its own timing, its real REST bodies, on free ports
  python -m tickbus_sim --capture captures/frames/binance_usdm/btcusdt_20240808.jsonl.gz

  # all raw recordings of a folder, as fast as the reader takes them, with their receive times
  python -m tickbus_sim --capture data/_raw/binance_usdm --speed max --capture-times

  # a seeded market of three tickers, 2,000 frames a second
  python -m tickbus_sim --synthetic --tickers BTCDEMO,ETHDEMO,SOLDEMO --seed 7 --rate 2000

  # the 1,000th frame and the nine depth frames of BTCUSDT after it are lost; at 30 s all break
  python -m tickbus_sim --capture FILE --faults '[
    {"kind": "drop", "at": 1000, "count": 10, "ticker": "BTCUSDT", "channel": "depth"},
    {"kind": "disconnect", "at": 30.0, "length_s": 2}]'

The ready line (JSON, standard output) tells ports, tickers and channels; the end line what was
sent and which faults touched which frames. GET /tickbus/status tells the same while it runs.
"""


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(
        prog="tickbus-sim",
        description="A venue on this machine: real WebSocket and REST in an exchange's protocol.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--capture", nargs="+", type=Path, metavar="FILE", help="recordings, or folders of them"
    )
    source.add_argument("--synthetic", action="store_true", help="a seeded market, no file needed")
    made.add_argument(
        "--exchange",
        help="whose protocol it speaks (a capture mostly tells by itself): "
        + ", ".join(one.token for one in dialects.exchanges()),
    )
    made.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N|max",
        help="N times the source's time, or as fast as the reader takes it (default: 1)",
    )
    made.add_argument("--port", type=int, default=0, help="WebSocket port (default: a free one)")
    made.add_argument("--rest-port", type=int, default=0, help="REST port (default: a free one)")
    made.add_argument(
        "--subscribe-wait-s",
        type=_positive,
        default=5.0,
        help="start without the missing subscriptions after this (default: 5)",
    )
    made.add_argument(
        "--capture-times",
        action="store_true",
        help="frames and bodies carry the capture's receive time where the client asks for it "
        "(tickbus_times=1)",
    )
    made.add_argument("--describe", action="store_true", help="print the facts and end")
    made.add_argument(
        "--faults", metavar="FILE|JSON", help="schedule: TOML file, JSON file or JSON text"
    )
    made.add_argument("--idle-s", type=_positive, help="cut silent clients off (default: as venue)")
    made.add_argument(
        "--messages-per-s",
        type=_positive,
        metavar="N",
        help="cut off clients that send more in a second (default: as venue)",
    )
    made.add_argument("--ping-s", type=_positive, help="between server pings (default: as venue)")
    market = made.add_argument_group("synthetic market")
    market.add_argument("--tickers", default="", help="default: three of the exchange's form")
    market.add_argument("--seed", type=int, help="default: drawn, and told in the ready line")
    market.add_argument(
        "--rate", type=_positive, default=500.0, help="frames a second, all tickers (default: 500)"
    )
    market.add_argument(
        "--burst",
        type=_burst,
        default=CALM,
        metavar="AT,LENGTH,TIMES",
        help="at AT seconds, for LENGTH seconds, TIMES as many frames",
    )
    market.add_argument(
        "--seasons",
        metavar="JSON",
        help='tickers that are not listed all the time: [{"ticker": "X", "from_s": 5}]; until_s, '
        "too; seconds after the market opened",
    )
    market.add_argument("--duration", type=_positive, metavar="S", help="default: endless")
    market.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="write what happens there before it is sent, a JSON line an event",
    )
    market.add_argument(
        "--start-ms", type=int, metavar="MS", help="the market's opening time (default: now)"
    )
    return made


def main() -> None:
    """Console script."""
    args = parser().parse_args()
    try:
        code = asyncio.run(_main(args))
    except (Fatal, Reject) as error:
        print(f"tickbus-sim: {error}", file=sys.stderr)
        code = _CANNOT
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


async def _main(args: argparse.Namespace) -> int:
    exchange = None if args.exchange is None else Exchange.from_token(args.exchange)
    serving = Serving(
        port=args.port,
        rest_port=args.rest_port,
        speed=args.speed,
        subscribe_wait_s=args.subscribe_wait_s,
        has_times=args.capture_times,
        ping_interval_s=args.ping_s,
        idle_s=args.idle_s,
        messages_per_s=args.messages_per_s,
    )
    venue, facts = (
        _synthetic(args, exchange, serving)
        if args.synthetic
        else _from_capture(args, exchange, serving)
    )
    if args.describe:
        _say({"event": "describe", "exchange": venue.dialect.exchange.token} | facts)
        return 0
    ready = await venue.open() | facts
    try:
        await _until_ended(venue, ready)
    finally:
        await venue.close()
        _say(venue.summary())
    return 0


def _from_capture(
    args: argparse.Namespace, exchange: Exchange | None, serving: Serving
) -> tuple[Venue, dict[str, Any]]:
    capture = read_capture(args.capture, exchange)
    faults = None
    if args.faults:
        start_ns = capture.received_ns[0] if capture.received_ns else 0
        identity = capture.dialect.identity
        faults = Faults(read_schedule(args.faults), capture.topics, start_ns, identity)
    return CaptureVenue(capture, serving, faults), capture_facts(capture)


def _synthetic(
    args: argparse.Namespace, exchange: Exchange | None, serving: Serving
) -> tuple[Venue, dict[str, Any]]:
    dialect = dialects.load(exchange or Exchange.BINANCE_USDM)
    spelled = str.lower if dialect.demo[0].islower() else str.upper
    asked = spelled(args.tickers).replace(" ", "").split(",") if args.tickers else dialect.demo
    tickers = list(dict.fromkeys(asked))
    if not all(_TICKER.fullmatch(ticker) for ticker in tickers):
        raise Fatal(f"--tickers {args.tickers}: names of letters and digits, with commas between")
    seed = random.SystemRandom().randrange(2**31) if args.seed is None else args.seed
    seasons = _seasons(args.seasons or "[]", tickers)
    market = Market(dialect, tickers, seed=seed, rate=args.rate, burst=args.burst, seasons=seasons)
    faults = None
    if args.faults:
        faults = Faults(read_schedule(args.faults), market.topics, 0, dialect.identity)
    venue = MarketVenue(
        market,
        serving,
        faults,
        duration_s=args.duration,
        start_ms=args.start_ms,
        journal=_journal(args.journal) if args.journal else None,
    )
    return venue, venue.facts() | {"seed": seed}


def _seasons(text: str, tickers: list[str]) -> list[Season]:
    try:
        seasons = msgspec.json.decode(text, type=list[Season])
    except msgspec.MsgspecError as error:
        raise Fatal(f"--seasons: {error}") from None
    unknown = [one.ticker for one in seasons if one.ticker not in tickers]
    if unknown:
        raise Fatal(f"--seasons: {unknown[0]} is not among --tickers {','.join(tickers)}")
    return seasons


def _journal(path: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as error:
        raise Fatal(f"--journal {path}: {error.strerror}; choose another file") from None


async def _until_ended(venue: Venue, ready: dict[str, Any]) -> None:
    """Runs the venue until it has ended by itself or a signal ends it; says first that it is ready.

    Whoever reads that may send a signal at once.
    """
    running = asyncio.ensure_future(venue.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    _say(ready)
    try:
        await running
    except asyncio.CancelledError:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _say(fact: dict[str, Any]) -> None:
    # Whoever started the venue may be gone by its end.
    with contextlib.suppress(BrokenPipeError):
        print(msgspec.json.encode(fact).decode(), flush=True)


def _speed(text: str) -> float | None:
    return None if text == "max" else _positive(text)


def _burst(text: str) -> Burst:
    """`20,5,10`: at 20 s, for 5 s, ten times as many; an argparse type."""
    try:
        at_s, length_s, times = map(float, text.split(","))
    except ValueError:
        at_s = length_s = times = -1.0
    if not (0 <= at_s < 1e9 and 0 < length_s < 1e9 and 0 < times <= 1000):
        raise argparse.ArgumentTypeError(f"{text!r}: write AT,LENGTH,TIMES, e.g. 20,5,10")
    return Burst(at_s, length_s, times)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


if __name__ == "__main__":
    main()
