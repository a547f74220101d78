"""Asks a venue once for its list of instruments; every refusal becomes one clear line."""

from __future__ import annotations

from collections import deque

from tickbus_schemas.errors import Reject, Retry

from tickbus_ingest.lines.limits import Limits
from tickbus_ingest.lines.listing import BODIES_MAX
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
    bodies: list[bytes] = []
    waiting = deque(kind.instruments_requests())
    try:
        while waiting:
            if len(bodies) == BODIES_MAX:
                raise Reject(f"the list does not end within {BODIES_MAX} bodies")
            get = waiting.popleft()
            await turn.take(get.weight)
            bodies.append(_body(venue, get, await rest.ask(get)))
            waiting += kind.more_instruments_requests(get, bodies[-1])
        return list(kind.parse_instruments(bodies))
    finally:
        await rest.close()


def _body(venue: Venue, get: Get, answer: Answer) -> bytes:
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
