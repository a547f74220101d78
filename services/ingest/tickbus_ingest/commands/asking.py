"""Asks a venue once for its list of instruments; every refusal becomes one clear line."""

from __future__ import annotations

from tickbus_schemas.errors import Retry

from tickbus_ingest.lines.limits import Limits
from tickbus_ingest.lines.listing import read_list
from tickbus_ingest.lines.turn import Turn
from tickbus_ingest.venue.contract import Get, Venue
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.wire.rest import Answer, Rest

TEXT_MAX = 120


async def asked(kind: type[Venue], rest: Rest) -> list[Instrument | Unread]:
    """What the venue lists; one request a body, none twice.

    Retry when a body does not come, Reject when one cannot be read.
    """
    venue = kind([], ())
    turn = Turn(Limits(kind).weight)

    async def fetch(get: Get) -> bytes:
        await turn.take(get.weight)
        return _body(venue, await rest.ask(get))

    try:
        return await read_list(kind, fetch)
    finally:
        await rest.close()


def _body(venue: Venue, answer: Answer) -> bytes:
    if answer.status == 200:
        return answer.data
    said = " ".join(answer.data[:TEXT_MAX].decode(errors="replace").split())
    why = refusal(answer, venue.hold_s(answer.status, answer.headers))
    raise Retry(f"{answer.url}: HTTP {answer.status}, {why}{f': {said}' if said else ''}")


def refusal(answer: Answer, hold_s: float | None) -> str:
    """What a status other than 200 means, and what to do."""
    status = answer.status
    if 300 <= status < 400:
        to = answer.headers.get("Location", "")[:TEXT_MAX]
        return f"sent elsewhere ({to or 'it does not say where'}), which is not followed"
    if hold_s is not None:
        return f"it refuses requests of this address: ask again in {hold_s:.0f} s at the earliest"
    if status in (401, 403, 451):
        return "forbidden from here: a firewall, or a country that it does not serve"
    if status >= 500:
        return "its server fails: ask again later"
    return "it does not answer this request"
