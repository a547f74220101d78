"""Each start of a shard's publisher writes a fence message with a new epoch: the last + 1.

The server stores the fence only if no other was stored since we read the last one. So two
publishers that start at the same time get different epochs.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import NamedTuple

from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from tickbus.log.connection import BUS_AWAY, Connection
from tickbus.retry import Attempts
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Fatal, Reject, Retry
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Fence

from tickbus_runtime.bus.answers import PublishVerdict, judge_answer

REQUEST_S = 5.0
_NO_STREAM = 10059


class _Last(NamedTuple):
    """The last fence that is known."""

    epoch: int = 0
    seq: int = 0
    msg_id: str = ""


async def announce_epoch(
    nc: Connection,
    stream: str,
    shard: str,
    exchange: Exchange,
    owner: str,
    *,
    version: str = "",
    stopping: asyncio.Event | None = None,
) -> tuple[int, int]:
    """Write the fence of this start; returns its epoch and stream sequence.

    The epoch is above every epoch in the stream or, if its fences have expired, in the checkpoint
    stream. Waits while the bus is away; Retry when told to stop meanwhile, Fatal when there is no
    such stream.
    """
    nonce = secrets.token_hex(8)
    async for _ in Attempts(stopping):
        try:
            last = await _last_fence(nc, stream, subjects.fence(shard))
            if last.msg_id.endswith(nonce):  # our own, whose answer was lost
                return await _noted(nc, shard, last)
            epoch = 1 + max(last.epoch, await _remembered(nc, shard))
            fence = Fence(
                exchange=int(exchange),
                ticker="",
                epoch=epoch,
                message_no=0,
                timestamp=time.time_ns() // 1_000,
                owner=owner,
                version=version,
            )
            seq = await _write(nc, shard, codec.encode(fence), last.seq, f"{epoch}|{nonce}")
            if seq:
                return await _noted(nc, shard, _Last(epoch, seq))
        except BUS_AWAY:
            continue
    raise Retry(f"stopped before {stream} could be reached; start again when it is back")


async def _last_fence(nc: Connection, stream: str, subject: str) -> _Last:
    """Read it from the leader: with a replica that lags, two starts could get the same epoch."""
    found = await _last_message(nc, stream, subject)
    if found is None:
        return _Last()
    try:
        fence = codec.decode(found.data or b"", subject)
    except Reject as error:
        raise Fatal(
            f"the fence of {stream} (sequence {found.seq}) is not readable: {error}"
        ) from None
    return _Last(fence.epoch, found.seq or 0, (found.headers or {}).get("Nats-Msg-Id", ""))


async def _write(nc: Connection, shard: str, data: bytes, last_seq: int, identity: str) -> int:
    """The new fence's sequence; 0 when another was stored meanwhile, or the answer was an error."""
    answer = await nc.request(
        subjects.fence(shard),
        data,
        timeout=REQUEST_S,
        headers={
            "Nats-Msg-Id": f"fence|{shard}|{identity}",
            "Nats-Expected-Last-Subject-Sequence": str(last_seq),
        },
    )
    judgement = judge_answer(None, answer.data)
    if judgement.verdict is PublishVerdict.REFUSED:
        raise Fatal(f"the fence of {shard} is refused: {judgement.text} ({judgement.code})")
    return judgement.seq


async def _remembered(nc: Connection, shard: str) -> int:
    """The epoch in the checkpoint stream, for when the fences in the log have expired."""
    found = await _last_message(nc, "CKPT", f"ckpt.fence.{shard}")
    return int(found.data or 0) if found is not None else 0


async def _noted(nc: Connection, shard: str, fence: _Last) -> tuple[int, int]:
    """Note the epoch in the checkpoint stream too; epoch and sequence of our fence."""
    async for _ in Attempts(None, count=3):
        with contextlib.suppress(*BUS_AWAY):
            epoch = str(fence.epoch).encode()
            answer = await nc.request(f"ckpt.fence.{shard}", epoch, timeout=REQUEST_S)
            if judge_answer(None, answer.data).seq:
                break
    # A failure is not fatal: the fence is in the log, and the next start notes its own.
    return fence.epoch, fence.seq


async def _last_message(nc: Connection, stream: str, subject: str) -> RawStreamMsg | None:
    """The last message of a subject, from the leader; None if there is none."""
    try:
        return await nc.jsm(timeout=REQUEST_S).get_last_msg(stream, subject)
    except NotFoundError as error:
        if error.err_code == _NO_STREAM:
            raise Fatal(f"there is no stream {stream}: 'tickbus init' creates it") from None
        return None
