"""A receiver of alerts on this machine, which behaves as a script says, and alerts to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tickbus.log.connection import Connection
from tickbus_schemas import codec, subjects
from tickbus_schemas.messages import Alert, AlertState, Severity

TOKEN = "123456:AAsecretSECRETsecret_-0"
CHAT = "-100777"
RAISED, RENEWED, RESOLVED = AlertState.RAISED, AlertState.RENEWED, AlertState.RESOLVED


def alert(
    number: int = 1,
    state: AlertState = RAISED,
    severity: Severity = Severity.CRITICAL,
    **fields: Any,
) -> Alert:
    """An alert whose cause tells which one it is."""
    return Alert(
        **{
            "exchange": 2,
            "ticker": "",
            "epoch": 0,
            "message_no": 0,
            "timestamp": 1_723_075_200_000_000 + number,
            "state": int(state),
            "severity": int(severity),
            "source": "ingest",
            "shard": "binance_usdm",
            "condition": "no_data",
            "about": f"n{number}",
            "cause": f"seen {number}",
            "remedy": "look at <ingest> & its log",
            "raised_timestamp": 1_723_075_200_000_000,
            **fields,
        }
    )


async def store(bus: Connection, *alerts: Alert) -> None:
    """Put alerts into the stream."""
    for one in alerts:
        severity = Severity(one.severity).name.lower()
        await bus.jetstream().publish(subjects.alert(severity, one.source), codec.encode(one))


@dataclass
class Served:
    """What a receiver was sent, and what it answers: the next of the script, then `ok`."""

    url: str = ""
    script: list[web.Response | str] = field(default_factory=list)
    """responses; "reset" hangs up, "slow" never answers"""
    got: list[tuple[str, Any]] = field(default_factory=list)
    """path and body of each request but getMe"""
    at_s: list[float] = field(default_factory=list)
    ok: Callable[[], web.Response] = lambda: web.json_response({"ok": True, "result": {}})
    me: Callable[[], web.Response] | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def texts(self) -> list[str]:
        """Of the messages, in order, refused ones too."""
        return [body["text"] for _, body in self.got]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if request.path.endswith("/getMe"):
            return self.me() if self.me else self.ok()
        self.got.append((request.path, json.loads(await request.text())))
        self.at_s.append(asyncio.get_running_loop().time())
        self.came.set()
        step = self.script.pop(0) if self.script else self.ok()
        if step == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step == "slow":
            await asyncio.sleep(60)
        assert isinstance(step, web.Response)
        return step

    async def until(self, requests: int) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(40):
            while len(self.got) < requests:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def receiver(*script: web.Response | str, port: int = 0) -> AsyncIterator[Served]:
    """A receiver that listens."""
    served = Served(script=list(script))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()


def telegram_says(status: int, description: str, **parameters: Any) -> web.Response:
    """An error as the Bot API sends it."""
    body = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return web.json_response(body, status=status)
