"""A fold's state in the stream CKPT: chunks, then the header that makes them valid.

Two slots are written in turn, so the stream holds a complete checkpoint at any moment. A subject
keeps only its last message; the hash in the header shows a checkpoint that was half overwritten.
"""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
from nats.js.errors import NotFoundError
from tickbus.log.connection import Connection
from tickbus_schemas.errors import Fatal

from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher

STREAM = "CKPT"
CHUNK_BYTES = 200 * 1024
SLOTS = 2
TOGETHER = 32
"""Chunks fetched at the same time."""
REQUEST_S = 5.0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a fold after a message of its input, and where to resume."""

    number: int
    """counts the checkpoints of a service and shard"""
    incarnation: str
    """of the input stream: a sequence means nothing in another one"""
    seq: int
    """everything up to this stream sequence is in the state, and its outputs are stored"""
    epoch: int
    message_no: int
    """of the last message folded; the next one must follow it"""
    schema: int
    """of the state"""
    state: bytes


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """Stored last; everything of a checkpoint but its state."""

    number: int
    incarnation: str
    seq: int
    epoch: int
    message_no: int
    schema: int
    chunks: int
    sha256: str


def messages(service: str, shard: str, checkpoint: Checkpoint) -> list[Outgoing]:
    """The messages to store, in order, to make this the last checkpoint."""
    state, number = checkpoint.state, checkpoint.number
    digest = hashlib.sha256(state).hexdigest()
    subject = f"ckpt.{service}.{shard}.{number % SLOTS}"
    # The hash is part of the ids: after a crash the same number may come with another state.
    identity = f"{service}|{shard}|{number}|{digest[:16]}"
    chunks = [state[start : start + CHUNK_BYTES] for start in range(0, len(state), CHUNK_BYTES)]
    header = _Header(
        number=number,
        incarnation=checkpoint.incarnation,
        seq=checkpoint.seq,
        epoch=checkpoint.epoch,
        message_no=checkpoint.message_no,
        schema=checkpoint.schema,
        chunks=len(chunks),
        sha256=digest,
    )
    return [
        *(
            Outgoing(f"{subject}.{place}", chunk, f"{identity}|{place}")
            for place, chunk in enumerate(chunks)
        ),
        Outgoing(subject, msgspec.json.encode(header), f"{identity}|{checkpoint.seq}"),
    ]


async def save(publisher: Publisher, service: str, shard: str, checkpoint: Checkpoint) -> None:
    """Store it; Fatal when the server refuses it for good."""
    for outcome in await publisher.flush(messages(service, shard, checkpoint)):
        if not outcome.stored:
            raise Fatal(
                f"a checkpoint of {service} is refused ({outcome.code} {outcome.text}): "
                f"'tickbus init' creates the stream {STREAM}"
            )


async def load(nc: Connection, service: str, shard: str) -> Checkpoint | None:
    """The last whole checkpoint, or None. Errors as of a request: see `BUS_AWAY`."""
    found: list[tuple[_Header, str]] = []
    for slot in range(SLOTS):
        subject = f"ckpt.{service}.{shard}.{slot}"
        data = await _last(nc, subject)
        if data is not None:
            found.append((msgspec.json.decode(data, type=_Header), subject))
    for header, subject in sorted(found, key=lambda one: one[0].number, reverse=True):
        state = await _state(nc, subject, header.chunks)
        if hashlib.sha256(state).hexdigest() == header.sha256:
            return Checkpoint(
                number=header.number,
                incarnation=header.incarnation,
                seq=header.seq,
                epoch=header.epoch,
                message_no=header.message_no,
                schema=header.schema,
                state=state,
            )
    return None


async def _state(nc: Connection, subject: str, chunks: int) -> bytes:
    parts: list[bytes | None] = []
    for first in range(0, chunks, TOGETHER):
        places = range(first, min(first + TOGETHER, chunks))
        parts += await asyncio.gather(*(_last(nc, f"{subject}.{place}") for place in places))
    return b"".join(part or b"" for part in parts)


async def _last(nc: Connection, subject: str) -> bytes | None:
    try:
        found = await nc.jsm(timeout=REQUEST_S).get_last_msg(STREAM, subject)
    except NotFoundError:
        return None
    return found.data or b""
