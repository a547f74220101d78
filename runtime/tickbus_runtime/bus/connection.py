"""A service's connection to NATS: it waits for the server at the start, and probes it later."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import nats.aio.transport
import nats.errors
from tickbus.log.connection import BUS_AWAY, Connection
from tickbus.log.connection import connect as connect_client
from tickbus.retry import Attempts
from tickbus_schemas.errors import Fatal, Retry

from tickbus_runtime.settings.sections import NatsSettings, Settings
from tickbus_runtime.settings.sources import redact
from tickbus_runtime.telemetry.metrics import Telemetry

PROBE_SUBJECT = "ckpt.probe"
"""`<this>.<service>.<shard>`: the last probe of each service, in the stream CKPT. Its age tells who
is silent (`tickbus_alerts`)."""
FAREWELL = b"stopped"
"""Payload of the last probe of a service that was stopped in order."""
Answer = TypeVar("Answer")


async def connect(
    name: str, settings: Settings, telemetry: Telemetry, stopping: asyncio.Event, log: Any
) -> Connection | None:
    """Connect, however long that takes; None at a stop. Fatal when the server refuses the login."""
    if settings.nats.url.startswith("ws"):  # see tickbus_runtime/__init__.py
        vars(nats.aio.transport)["aiohttp"] = importlib.import_module("aiohttp")
    async for attempt in Attempts(stopping):
        try:
            nc = await connect_client(
                settings.nats.url,
                name=f"tickbus-{name}",
                user=settings.nats.user,
                password=password(settings.nats),
                creds_file=settings.nats.creds_file,
                data_dir=settings.data_dir,
                count=lambda kind: telemetry.count("bus_errors", kind=kind),
            )
            _count_losses(nc, telemetry)
            return nc
        except Retry as error:
            if attempt == 1:
                log.warning("waiting for NATS", reason=redact(str(error)))
    return None


async def until_answered(
    stopping: asyncio.Event | None, what: str, ask: Callable[[], Awaitable[Answer]]
) -> Answer:
    """Ask until the bus answers; Retry when told to stop before.

    what: the thing asked for, in the words of the error. ask: returns the answer; raises one of
    `BUS_AWAY` while there is none.
    """
    async for _ in Attempts(stopping):
        try:
            return await ask()
        except BUS_AWAY:
            continue
    raise Retry(f"stopped before {what} could be read; start again when the bus is back")


def _count_losses(nc: Connection, telemetry: Telemetry) -> None:
    nc.on_change(lambda: telemetry.gauge("bus_losses", nc.losses))


def password(settings: NatsSettings) -> str:
    """The password from its file; Fatal when that cannot be read."""
    if not settings.password_file:
        return ""
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Fatal(f"nats.password_file {settings.password_file}: {error.strerror}") from None


async def probe(nc: Connection, service: str, shard: str, payload: bytes = b"") -> bool:
    """Whether the server stores a message; a full disk shows here."""
    answer = await nc.request(f"{PROBE_SUBJECT}.{service}.{shard}", payload, timeout=2.0)
    return b'"error"' not in answer.data


async def say_farewell(nc: Connection, service: str, shard: str) -> None:
    """This service was stopped in order: its silence from now on is no alert."""
    with contextlib.suppress(*BUS_AWAY):
        await probe(nc, service, shard, FAREWELL)


async def close(nc: Connection) -> None:
    """Send what is buffered and disconnect; do not wait for a server that is gone."""
    try:
        await asyncio.wait_for(nc.close(), 2.0)
    except (TimeoutError, nats.errors.Error, OSError):
        return
