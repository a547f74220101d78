"""The HTTP server of a process: /live, /ready, /metrics and /status.

A request computes nothing: readiness is the result of our last probe of the bus, which runs in the
background, so a slow bus never makes a health check hang.
https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus_runtime.settings.sections import HealthSettings
from tickbus_runtime.telemetry.metrics import Telemetry

PROBE_EVERY_S = 5.0
PROBE_TIMEOUT_S = 2.0
PROBE_FAILURES = 3
"""After this many failed probes in a row the bus is unready; a full disk gives no answer."""

PULSE_S = 1.0
DEAD_S = 60.0
"""An event loop that has not run for this long hangs; no kernel takes a tenth of it."""


class Readiness:
    """Decides whether a process is ready; has no clock and no socket."""

    def __init__(self, fresh_within_s: float | None = None) -> None:
        self.fresh_within_s = fresh_within_s
        """Older data makes the process unready; None: no data is expected."""
        self.started = False
        self.stopping = False
        self._bus = False
        self._bus_failures = 0
        self._data_at: float | None = None

    def bus_answered(self, ok: bool) -> None:
        """Take the result of one probe of the bus."""
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
        except Exception:  # whatever the error, the bus did not answer
            ok = False
        readiness.bus_answered(ok)
        await asyncio.sleep(PROBE_EVERY_S if ok else retry_s)


class HealthServer:
    """Answers probes and Prometheus on one address, from a thread of its own.

    So it answers while the event loop is busy, and notices a loop that hangs.
    """

    def __init__(
        self, readiness: Readiness, telemetry: Telemetry, status: Callable[[], dict[str, Any]]
    ) -> None:
        self._readiness = readiness
        self._telemetry = telemetry
        self._status = status
        self._server: _Server | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._pulse_s = 0.0
        self.url = ""
        """Where it listens, once started."""

    async def start(self, settings: HealthSettings) -> None:
        """Listen; Fatal when the address is taken or not of this machine."""
        try:
            server = _Server((settings.host, settings.port), self._answer)
        except OSError as error:
            raise Fatal(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
                "set health.port to a free port, or 0 for any"
            ) from None
        self._server = server
        host, port = server.server_address[:2]
        self.url = f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"
        self._pulse_s = time.monotonic()
        self._pulse = asyncio.create_task(self._beat())
        threading.Thread(target=server.serve_forever, daemon=True, name="health").start()

    async def close(self) -> None:
        """Stop listening."""
        if self._pulse is not None:
            self._pulse.cancel()
        if self._server is not None:
            ending = asyncio.create_task(asyncio.to_thread(self._server.shutdown))
            await asyncio.sleep(0)
            self._server.wake()
            await ending
            self._server.server_close()
            self._server = None

    async def _beat(self) -> None:
        while True:
            self._pulse_s = time.monotonic()
            await asyncio.sleep(PULSE_S)

    def _answer(self, path: str) -> Answer:
        """What a GET gets; called in threads of the server."""
        now_s = time.monotonic()
        match path.partition("?")[0]:
            case "/live":
                alive = now_s - self._pulse_s < DEAD_S
                return Answer(200, b"live\n") if alive else Answer(503, b"the event loop hangs\n")
            case "/ready":
                checks = self._readiness.checks(now_s)
                ready = all(checks.values())
                return _json({"ready": ready, "checks": checks}, 200 if ready else 503)
            case "/metrics":
                return Answer(200, self._telemetry.prometheus(), "text/plain; version=0.0.4")
            case "/status":
                return _json(self._status())
        return Answer(404, b"/live /ready /metrics /status\n")


class Answer(NamedTuple):
    """Status code, body and its type."""

    code: int
    body: bytes
    content_type: str = "text/plain"


def _json(value: object, code: int = 200) -> Answer:
    return Answer(code, msgspec.json.encode(value, enc_hook=str), "application/json")


class _Server(ThreadingHTTPServer):
    """The standard library's server (aiohttp's costs each service 0.3 s of imports)."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def wake(self) -> None:
        """Wake the serving loop, which else checks for its end only twice a second."""
        with contextlib.suppress(OSError):
            host, port = self.server_address[:2]
            socket.create_connection((str(host), port), timeout=0.5).close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has disconnected."""


class _Handler(BaseHTTPRequestHandler):
    """One GET."""

    timeout = 5.0
    server: _Server

    def do_GET(self) -> None:
        """Answer and close."""
        answer = self.server.answer(self.path)
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes are not logged."""
