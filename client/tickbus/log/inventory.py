"""The streams of a server: their limits, their use, and who reads them.

https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-1.md ($JS.API); asked for
as JSON because nats-py's types leave out the times of the first and the last message.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from tickbus_schemas.errors import Fatal, Retry

ALARM_USE = 0.7
"""Share of `max_bytes` from which a stream is reported as filling up."""
REQUEST_TIMEOUT_S = 5.0
_NS = 1_000_000_000


class Limits(msgspec.Struct):
    """Limits of a stream, as configured; -1 and 0 are none."""

    name: str
    subjects: list[str] = []
    storage: str = ""
    num_replicas: int = 1
    retention: str = ""
    discard: str = ""
    max_age: int = 0
    """ns"""
    max_bytes: int = -1
    max_msgs: int = -1


class State(msgspec.Struct):
    """What a stream holds now; the times are RFC 3339 text and meaningless without messages."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_ts: str = ""
    last_ts: str = ""


class Stream(msgspec.Struct):
    """A stream as `$JS.API.STREAM.LIST` reports it."""

    config: Limits
    state: State
    created: str = ""

    @property
    def use(self) -> float | None:
        """Share of `max_bytes` that is taken; None without a limit."""
        return self.state.bytes / self.config.max_bytes if self.config.max_bytes > 0 else None

    @property
    def alarm(self) -> bool:
        """Whether it is filling up."""
        return self.use is not None and self.use >= ALARM_USE


class Delivered(msgspec.Struct):
    """How far a consumer has read."""

    stream_seq: int = 0


class Consumer(msgspec.Struct):
    """A consumer as `$JS.API.CONSUMER.LIST` reports it."""

    name: str
    num_pending: int = 0
    num_ack_pending: int = 0
    delivered: Delivered = msgspec.field(default_factory=Delivered)


class _Problem(msgspec.Struct):
    code: int = 0
    description: str = ""


class _StreamPage(msgspec.Struct):
    total: int = 0
    streams: list[Stream] | None = None
    error: _Problem | None = None


class _ConsumerPage(msgspec.Struct):
    total: int = 0
    consumers: list[Consumer] | None = None
    error: _Problem | None = None


_Page = TypeVar("_Page", _StreamPage, _ConsumerPage)


async def streams(nc: Client) -> list[Stream]:
    """All streams, in order of name. Fatal without JetStream, Retry when it does not answer."""
    found: list[Stream] = []
    while True:
        page = await _ask(nc, "STREAM.LIST", len(found), _StreamPage)
        found += page.streams or []
        if not page.streams or len(found) >= page.total:
            return sorted(found, key=lambda stream: stream.config.name)


async def consumers(nc: Client, stream: str) -> list[Consumer]:
    """All consumers of a stream, in order of name; errors as `streams`."""
    found: list[Consumer] = []
    while True:
        page = await _ask(nc, f"CONSUMER.LIST.{stream}", len(found), _ConsumerPage)
        found += page.consumers or []
        if not page.consumers or len(found) >= page.total:
            return sorted(found, key=lambda consumer: consumer.name)


async def _ask(nc: Client, what: str, offset: int, kind: type[_Page]) -> _Page:
    request = msgspec.json.encode({"offset": offset})
    try:
        answer = await nc.request(f"$JS.API.{what}", request, timeout=REQUEST_TIMEOUT_S)
    except nats.errors.NoRespondersError:
        raise Fatal("this NATS server has no JetStream: start it with 'jetstream {}'") from None
    except TimeoutError:
        raise Retry(f"no answer to $JS.API.{what} within {REQUEST_TIMEOUT_S:g} s") from None
    page = msgspec.json.decode(answer.data, type=kind)
    if page.error is not None:
        raise Fatal(f"the server refused $JS.API.{what}: {page.error.description}")
    return page


def report(stream: Stream, readers: list[Consumer]) -> dict[str, Any]:
    """A stream and its readers as plain values, for JSON; times are None without messages."""
    limits, state = stream.config, stream.state
    return {
        "stream": limits.name,
        "subjects": limits.subjects,
        "messages": state.messages,
        "bytes": state.bytes,
        "first_seq": state.first_seq,
        "last_seq": state.last_seq,
        "first_time": state.first_ts if state.messages else None,
        "last_time": state.last_ts if state.messages else None,
        "created": stream.created,
        "storage": limits.storage,
        "replicas": limits.num_replicas,
        "retention": limits.retention,
        "discard": limits.discard,
        "max_age_s": limits.max_age / _NS or None,
        "max_bytes": limits.max_bytes if limits.max_bytes > 0 else None,
        "use": stream.use,
        "alarm": stream.alarm,
        "consumers": [
            {
                "consumer": reader.name,
                "delivered_seq": reader.delivered.stream_seq,
                "pending": reader.num_pending,
                "unacknowledged": reader.num_ack_pending,
            }
            for reader in readers
        ],
    }
