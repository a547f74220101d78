"""The HTTP server of a process: /live, /ready, /metrics and /status.

Nothing is worked out when a probe asks: readiness is the last answer of a probe of the bus that
runs by itself, so a slow bus never makes a health check hang.
https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from tickbus_schemas.errors import Fatal

from tickbus_runtime.settings import HealthSettings
from tickbus_runtime.telemetry import Telemetry

PROBE_EVERY_S = 5.0
PROBE_TIMEOUT_S = 2.0
PROBE_FAILURES = 3
"""A full disk shows as silence: so many probes without answer in a row make the bus unready."""


class Readiness:
    """Decides whether a process is ready, from what it was told; holds no clock and no socket."""

    def __init__(self, fresh_within_s: float | None = None) -> None:
        self.fresh_within_s = fresh_within_s
        """Data older than this make the process unready; None: nothing is expected to flow."""
        self.started = False
        self.stopping = False
        self._bus = False
        self._bus_failures = 0
        self._data_at: float | None = None

    def bus_answered(self, ok: bool) -> None:
        """The outcome of one probe of the bus."""
        self._bus_failures = 0 if ok else self._bus_failures + 1
        if ok:
            self._bus = True
        elif self._bus_failures >= PROBE_FAILURES:
            self._bus = False

    def data_arrived(self, at_s: float) -> None:
        """Data came in at this monotonic time."""
        self._data_at = at_s

    def checks(self, now_s: float) -> dict[str, bool]:
        """Each condition by name; ready when all hold."""
        checks = {"started": self.started, "bus": self._bus, "not_stopping": not self.stopping}
        if self.fresh_within_s is not None:
            data_at = self._data_at
            checks["fresh"] = data_at is not None and now_s - data_at <= self.fresh_within_s
        return checks

    def ready(self, now_s: float) -> bool:
        """Whether all checks hold."""
        return all(self.checks(now_s).values())


async def keep_probing(
    readiness: Readiness, probe: Callable[[], Awaitable[bool]], *, retry_s: float = 1.0
) -> None:
    """Probe the bus for ever; a probe that raises counts as no answer."""
    while True:
        try:
            ok = await asyncio.wait_for(probe(), PROBE_TIMEOUT_S)
        except Exception:  # whatever it is, the bus did not answer
            ok = False
        readiness.bus_answered(ok)
        await asyncio.sleep(PROBE_EVERY_S if ok else retry_s)


class HealthServer:
    """Answers probes and Prometheus on one address."""

    def __init__(
        self,
        readiness: Readiness,
        telemetry: Telemetry,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._readiness = readiness
        self._telemetry = telemetry
        self._status = status
        self._runner: web.AppRunner | None = None
        self.url = ""
        """Where it listens, once started."""

    async def start(self, settings: HealthSettings) -> None:
        """Listen; Fatal when the address is taken or not ours."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/live", self._live),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/status", self._show_status),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            await runner.cleanup()
            raise Fatal(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
                "set health.port to a free port, or 0 for any"
            ) from None
        self._runner = runner
        host, port = runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _live(self, _request: web.Request) -> web.Response:
        return web.Response(text="live\n")  # the loop turns, or nobody would have answered

    async def _ready(self, _request: web.Request) -> web.Response:
        now_s = time.monotonic()
        ready = self._readiness.ready(now_s)
        return _json(
            {"ready": ready, "checks": self._readiness.checks(now_s)}, 200 if ready else 503
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        text = self._telemetry.prometheus()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _show_status(self, _request: web.Request) -> web.Response:
        return _json(self._status())


def _json(value: object, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value, enc_hook=str)
    return web.Response(body=body, status=status, content_type="application/json")
