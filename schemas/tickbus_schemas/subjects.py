"""Subjects, stream names and path tokens: one escape for all of them.

A ticker is any text a venue may invent. Its token holds only `[A-Za-z0-9_-]` and `%XX` (upper
case hex of the UTF-8 bytes), so it is one subject token, never a wildcard, and safe in a path.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import DERIVED, RAW

FEEDS = RAW
"""leaves of `md.` subjects"""
MAX_TICKER_BYTES = 64

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_TOKEN = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_INTERVAL = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_DAY_MS = 86_400_000


def escape(ticker: str) -> str:
    """The token of a ticker; one to one. Reject for an empty, too long or unencodable ticker."""
    try:
        raw = ticker.encode()
    except UnicodeEncodeError:
        raise Reject(f"ticker {ticker!r} is not valid text") from None
    if not 0 < len(raw) <= MAX_TICKER_BYTES:
        raise Reject(f"ticker {ticker[:80]!r} must have 1 to {MAX_TICKER_BYTES} bytes")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)


def unescape(token: str) -> str:
    """The ticker of a token; Reject unless `escape` would give that very token back."""
    if _TOKEN.fullmatch(token):
        parts = token.split("%")
        raw = parts[0].encode() + b"".join(
            bytes((int(part[:2], 16),)) + part[2:].encode() for part in parts[1:]
        )
        try:
            ticker = raw.decode()
        except UnicodeDecodeError:
            pass
        else:
            if len(raw) <= MAX_TICKER_BYTES and escape(ticker) == token:
                return ticker
    raise Reject(f"{token[:80]!r} is not a ticker token: write each other byte as %XX")


def interval_ms(text: str) -> int:
    """Milliseconds of an interval such as `100ms` or `1m`; Reject unless it divides a day."""
    match = _INTERVAL.fullmatch(text)
    if match:
        length_ms = int(match[1]) * _UNIT_MS[match[2]]
        if _DAY_MS % length_ms == 0:
            return length_ms
    raise Reject(f"interval {text!r}: write <n>ms, <n>s, <n>m or <n>h so that it divides a day")


def interval_token(length_ms: int) -> str:
    """The one name of an interval in subjects: 60000 is `1m`; Reject as `interval_ms`."""
    if length_ms <= 0 or _DAY_MS % length_ms:
        raise Reject(f"interval of {length_ms} ms: it must divide a day")
    for unit in ("h", "m", "s"):
        if length_ms % _UNIT_MS[unit] == 0:
            return f"{length_ms // _UNIT_MS[unit]}{unit}"
    return f"{length_ms}ms"


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Reject(f"{what} {name[:80]!r}: lower case letters, digits and _, at most 48")
    return name


def md(exchange: Exchange, ticker: str, feed: str) -> str:
    """`md.<exchange>.<ticker>.<feed>`."""
    if feed not in FEEDS:
        raise Reject(f"unknown feed {feed!r}: one of {', '.join(FEEDS)}")
    return f"md.{exchange.token}.{escape(ticker)}.{feed}"


def derived(kind: str, exchange: Exchange, ticker: str, length_ms: int) -> str:
    """`<book|bar|feature>.<exchange>.<ticker>.<interval>`; length 0 is the book on `change`."""
    if kind not in DERIVED:
        raise Reject(f"unknown kind {kind!r}: one of {', '.join(DERIVED)}")
    interval = interval_token(length_ms) if length_ms or kind != "book" else "change"
    return f"{kind}.{exchange.token}.{escape(ticker)}.{interval}"


def fence(shard: str) -> str:
    """Where a shard's publishers announce themselves."""
    return f"fence.{_checked('shard', shard)}"


def clock(shard: str) -> str:
    """Where a shard's venue time is announced."""
    return f"clock.{_checked('shard', shard)}"


def dead_letter(service: str, exchange: Exchange) -> str:
    """Where a service keeps what it refused."""
    return f"dlq.{_checked('service', service)}.{exchange.token}"


def alert(severity: str, source: str) -> str:
    """`alert.<severity>.<source>`: where a service tells of severe conditions."""
    return f"alert.{_checked('severity', severity)}.{_checked('source', source)}"


def live(subject: str) -> str:
    """Where the server repeats what it stored on `subject`."""
    return f"live.{subject}"


def replay(job: str, subject: str) -> str:
    """Where the replay `job` publishes what once stood on `subject`."""
    return f"replay.{_checked('job', job)}.{subject}"


def bare(subject: str) -> str:
    """The subject without `live.` or `replay.<job>.` in front."""
    head, _, rest = subject.partition(".")
    if head == "live":
        return rest
    if head == "replay":
        job, _, rest = rest.partition(".")
        _checked("job", job)
        return rest
    return subject


def stream(kind: str, shard: str) -> str:
    """Stream of a shard: kind `md`, `book`, `bar` or `feature`; `MD_BINANCE_USDM`."""
    if kind not in ("md", *DERIVED):
        raise Reject(f"unknown kind {kind!r}: one of md, {', '.join(DERIVED)}")
    return f"{kind}_{_checked('shard', shard)}".upper()


class Address(NamedTuple):
    """What a market-data or derived subject says."""

    kind: str
    """md, book, bar or feature"""
    exchange: Exchange
    ticker: str
    leaf: str
    """the feed of md; the interval (or `change`) of the others"""


def parse(subject: str) -> Address:
    """The address of a four-token subject (`live.` and `replay.<job>.` in front are dropped).

    Reject for any other subject, and for one that says in another way what ours say in one.
    """
    tokens = bare(subject).split(".")
    if len(tokens) != 4 or tokens[0] not in ("md", *DERIVED):
        raise Reject(f"{subject[:120]!r} is not <md|book|bar|feature>.<exchange>.<ticker>.<leaf>")
    kind, exchange, ticker, leaf = tokens
    if kind == "md":
        if leaf not in FEEDS:
            raise Reject(f"{subject[:120]!r}: unknown feed {leaf[:40]!r}")
    elif not (kind == "book" and leaf == "change") and interval_token(interval_ms(leaf)) != leaf:
        raise Reject(f"{subject[:120]!r}: write {interval_token(interval_ms(leaf))}, not {leaf}")
    return Address(kind, Exchange.from_token(exchange), unescape(ticker), leaf)
