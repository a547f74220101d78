"""Arguments that several commands share, and the connection that they describe."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tickbus_schemas.errors import Fatal
from tickbus_schemas.feeds import DERIVED, OF_HEAD

from tickbus.log.connection import Connection, connect

_TOKEN = re.compile(r"[A-Za-z0-9_%-]+|\*")
_HEADS = ("md", *DERIVED, *OF_HEAD)
_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

SECONDS_MAX = 1e9
"""Thirty years: nobody waits longer, and every timer takes it."""
PORT_MAX = 65_535

TIMES = (
    "times: 2026-11-21T10:00:00Z (UTC unless it says otherwise), or how long ago: 30s, 5m, 2h, 1d"
)


def add_bus(parser: argparse.ArgumentParser) -> None:
    """`--nats` and `--data`: where the bus is."""
    parser.add_argument(
        "--nats",
        metavar="URL",
        help="NATS server (default: TICKBUS_NATS__URL, else the one that 'tickbus up' started)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=Path("data"),
        help="data folder of 'tickbus up', where it says how its server is reached "
        "(default: ./data)",
    )


@asynccontextmanager
async def bus(args: argparse.Namespace, command: str) -> AsyncIterator[Connection]:
    """A connection as `add_bus` describes it; credentials also from TICKBUS_NATS__* variables."""
    password_file = os.environ.get("TICKBUS_NATS__PASSWORD_FILE", "")
    client = await connect(
        args.nats,
        name=f"tickbus {command}",
        user=os.environ.get("TICKBUS_NATS__USER", ""),
        password=_content(password_file) if password_file else "",
        creds_file=os.environ.get("TICKBUS_NATS__CREDS_FILE", ""),
        data_dir=args.data,
    )
    try:
        yield client
    finally:
        await client.close()


def _content(password_file: str) -> str:
    try:
        return Path(password_file).read_text().strip()
    except OSError as error:
        raise Fatal(
            f"cannot read {password_file} (TICKBUS_NATS__PASSWORD_FILE): {error.strerror}"
        ) from None


def subject(text: str) -> str:
    """A subject of ours, `*` and a last `>` allowed; an argparse type."""
    tokens = text.split(".")
    plain = tokens[:-1] if tokens[-1] == ">" else tokens
    if not all(_TOKEN.fullmatch(token) for token in plain):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no subject: tokens of letters, digits, _, -, %XX or *, with dots between"
        )
    head = tokens
    if head[0] == "live":
        head = head[1:]
    elif head[0] == "replay":
        head = head[2:]
    if not head or head[0] not in (*_HEADS, ">"):
        raise argparse.ArgumentTypeError(
            f"{text!r} names nothing on the bus: subjects begin with {', '.join(_HEADS)} "
            "(live. or replay.<job>. may stand before), "
            "as in live.md.binance_usdm.BTCUSDT.trade"
        )
    return text


def moment(text: str) -> datetime:
    """A time of day or how long ago (see TIMES), as an aware UTC time; an argparse type."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        if text == "now":
            return datetime.now(UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: {TIMES}") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def moment_or_sequence(text: str) -> datetime | int:
    """A stream sequence (digits only) or a moment; an argparse type."""
    return int(text) if text.isdecimal() and text.isascii() else moment(text)


def positive(text: str) -> int:
    """A whole number above 0; an argparse type."""
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0; an argparse type."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return found


def port(text: str) -> int:
    """A TCP port, or 0 for any free one; an argparse type."""
    if not (text.isdecimal() and text.isascii() and int(text) <= PORT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {PORT_MAX}")
    return int(text)
