"""What a venue's file says of itself, as plain values; nothing is known of it besides."""

from __future__ import annotations

import math
from typing import Any

from tickbus_ingest.venue.contract import Limit, Meant, Units, Venue

Facts = dict[str, Any]


def facts(venue: type[Venue]) -> Facts:
    """Exchange, code, status, feeds, rules of its numbers, units, limits, addresses, documents."""
    return {
        "exchange": venue.exchange.token,
        "code": int(venue.exchange),
        "status": venue.evidence.value,
        "status_meaning": venue.evidence.meaning,
        "feeds": list(venue.feeds),
        "books": _choice(venue.snapshots),
        "update_ids": _choice(venue.update_ids),
        "trade_ids": _choice(venue.trade_ids),
        "numbering_is_global": venue.numbering_is_global,
        "examples": list(venue.examples),
        "units": [_unit(one) for one in venue.units],
        "limits": [_limit(one) for one in venue.limits],
        "connection_life_s": _finite(venue.connection_life_s),
        "keepalive_s": venue.keepalive.every_s if venue.keepalive else None,
        "compression": venue.compression.value,
        "websocket_urls": list(venue.websocket_urls),
        "rest_urls": list(venue.rest_urls),
        "documents": list(venue.docs),
    }


def _choice(choice: Meant) -> dict[str, str]:
    return {"rule": choice.value, "meaning": choice.meaning}


def _unit(units: Units) -> dict[str, str]:
    return {"of": units.of, "qty": units.qty, "turnover": units.turnover}


def _limit(limit: Limit) -> dict[str, Any]:
    return {"what": limit.what.value, "n": limit.n, "per_s": limit.per_s or None}


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def limit_words(limit: dict[str, Any]) -> str:
    """A limit in words: `at most 300 connection attempts within 300 s`."""
    within = f" within {limit['per_s']:g} s" if limit["per_s"] else ""
    return f"at most {limit['n']:,} {limit['what']}{within}"


def numbering_words(found: Facts) -> str:
    """Whether two connections show the same numbers."""
    if found["numbering_is_global"]:
        return "the same on every connection: updates of two may be merged one by one"
    return "own ones on each connection, or none: one connection leads"
