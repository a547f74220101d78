"""`tickbus instruments`: what a venue lists now, with the units of its prices and quantities."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from math import isnan
from typing import Any

import msgspec
from tickbus.cli import text
from tickbus_schemas.errors import Fatal, Reject, Retry
from tickbus_schemas.messages import ABSENT, InstrumentKind

from tickbus_ingest import exchanges
from tickbus_ingest.commands.asking import asked
from tickbus_ingest.commands.venues import known
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.wire.rest import Rest

help = "what a venue lists now: tickers, kinds, ticks, lots, contract sizes, status, expiry"

_EXAMPLES = """\
examples:
  tickbus instruments okx --kind perpetual --match '*-USDT-*'
  tickbus instruments deribit --kind option --match 'BTC-*' --json | jq -r '.instruments[].ticker'
  tickbus instruments kraken --rest-url http://127.0.0.1:8080      a simulated venue

It asks once, without a key, and obeys the venue's limits; it never asks again after a refusal.
Rows of the list that are not understood are named. Exit code 1: the list did not come, or nothing
in it is understood; the line says why.
"""
KINDS = {kind.name.lower(): kind for kind in InstrumentKind}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("venue", metavar="VENUE", help="its name; 'tickbus venues' lists them")
    add("--kind", action="append", choices=KINDS, help="only these; may be repeated")
    add("--match", metavar="PATTERN", help="only these tickers: * any text, ? any character")
    add("--rest-url", metavar="URL", help="instead of the venue's REST address")
    add("--json", action="store_true", help="one JSON object")
    parser.epilog = _EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Ask once and print."""
    kind = exchanges.load(known(args.venue))
    if args.rest_url and args.rest_url.partition("://")[0] not in ("http", "https"):
        raise Fatal(f"--rest-url {args.rest_url[:80]}: an address that begins with http or https")
    urls = [args.rest_url or url for url in kind.rest_urls]
    try:
        listed = asyncio.run(asked(kind, Rest(urls)))
    except (Retry, Reject) as error:
        raise Fatal(f"{args.venue}: no list of instruments: {error}") from None
    unread = [one for one in listed if isinstance(one, Unread)]
    shown = list(chosen(listed, args.kind or (), args.match))
    if args.json:
        print(json.dumps(report(args.venue, shown, unread)))
    else:
        print(table(shown) if shown else _nothing(args, len(listed) - len(unread)))
        for one in unread:
            print(f"not understood: {one.ticker!r}: {one.why}", file=sys.stderr)
    return 1 if unread and len(unread) == len(listed) else 0


def chosen(
    listed: list[Instrument | Unread], kinds: list[str] | tuple[str, ...], pattern: str | None
) -> Iterator[Instrument]:
    """The instruments of these kinds (all, if none is named) whose ticker matches, by name."""
    wanted = {KINDS[kind] for kind in kinds} or set(InstrumentKind)
    found = [one for one in listed if isinstance(one, Instrument) and one.kind in wanted]
    for one in sorted(found, key=lambda one: (one.kind, one.ticker)):
        if pattern is None or fnmatchcase(one.ticker, pattern):
            yield one


def _nothing(args: argparse.Namespace, listed: int) -> str:
    return f"{args.venue} lists {listed:,} instruments, and none of this kind and name"


def report(venue: str, shown: list[Instrument], unread: list[Unread]) -> dict[str, Any]:
    """The list as one object; what the venue does not say is null."""
    return {
        "exchange": venue,
        "instruments": [plain(one) for one in shown],
        "not_understood": [{"ticker": one.ticker, "why": one.why} for one in unread],
    }


def plain(one: Instrument) -> dict[str, Any]:
    """An instrument's values: codes as words, null where the venue says nothing."""
    values = msgspec.structs.asdict(one)
    for name, value in values.items():
        if value == ABSENT or value == "" or (isinstance(value, float) and isnan(value)):
            values[name] = None
    for name in ("kind", "status", "option_type"):
        values[name] = getattr(one, name).name.lower()
    return values


_HEADER = (
    "ticker", "kind", "base", "quote", "settle", ">tick", ">lot", ">contract", "status", "expires"
)  # fmt: skip


def table(shown: list[Instrument]) -> str:
    """A line an instrument."""
    return text.table(_HEADER, [_row(one) for one in shown])


def _row(one: Instrument) -> list[str]:
    expires = one.expiry_timestamp
    return [
        one.ticker,
        one.kind.name.lower(),
        one.base or "-",
        one.quote or "-",
        one.settle or "-",
        _number(one.tick_size),
        _number(one.lot_size),
        f"{_number(one.contract_size)} {one.contract_unit}".strip(),
        one.status.name.lower(),
        "-"
        if expires == ABSENT
        else f"{datetime.fromtimestamp(expires / 1e6, UTC):%Y-%m-%dT%H:%MZ}",
    ]


def _number(value: float) -> str:
    return "-" if isnan(value) else f"{value:.12g}"
