"""The venue's REST side: books, instrument list, other recorded bodies, and its own status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiohttp import web
from tickbus_schemas.errors import Fatal

from tickbus_sim.dialect import BadRequest, Dialect, Resource

RECEIVED_HEADER = "X-Tickbus-Received-Ns"
SOURCE_HEADER = "X-Tickbus-Source"
"""`recorded`, or `own-book`: folded from what was played."""
_MINUTE_NS = 60 * 1_000_000_000


@dataclass(frozen=True)
class RestBody:
    """An answer, and when it was received: in the source's time, never by today's clock."""

    text: bytes
    received_ns: int
    is_own: bool = False
    """made here, not recorded"""


class Desk(Protocol):
    """What the REST side asks the venue for."""

    def tickers(self) -> list[str]:
        """All tickers that have books."""

    async def book(self, symbol: str, levels: int) -> tuple[RestBody, int]:
        """The ticker's book, as soon as it may be known, and a ticket to settle.

        BadRequest where there is none that is whole.
        """

    def settle(self, ticket: int, symbol: str, *, reached: bool) -> None:
        """Whether the answer reached whoever asked."""

    def instruments(self, resource: Resource) -> RestBody:
        """The instrument list."""

    def other(self, resource: Resource) -> RestBody | None:
        """What the venue itself knows, or a recorded body; None when there is neither."""

    def status(self) -> Mapping[str, Any]:
        """Counts and position."""

    def end(self) -> bool:
        """Play no further; False where what is played ends by itself."""


class Weights:
    """Request weight used in the running minute, per venue as per IP."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._minute = -1
        self._used = 0

    def use(self, weight: int) -> int:
        """Adds a request; returns what the minute has used."""
        minute = self._clock_ns() // _MINUTE_NS
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight
        return self._used


class RestServer:
    """HTTP in front of a desk."""

    def __init__(self, dialect: Dialect, desk: Desk, *, has_times: bool) -> None:
        """`has_times`: answers tell when the recorder received them."""
        self.requests_open = 0
        self._dialect = dialect
        self._desk = desk
        self._has_times = has_times
        self._weights = Weights()
        self._runner: web.AppRunner | None = None

    async def listen(self, port: int) -> int:
        """Starts to accept; returns the port. Fatal when the port is taken."""
        app = web.Application()
        app.add_routes(
            [web.get("/tickbus/status", self._status), web.post("/tickbus/end", self._end)]
        )
        app.router.add_route("*", "/{path:.*}", self._any)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise Fatal(f"port {port}: {error.strerror}; choose another --rest-port") from None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Ends the server; open requests have a second."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _status(self, request: web.Request) -> web.Response:
        return self._response(msgspec.json.encode(self._desk.status()), weight=0)

    async def _end(self, request: web.Request) -> web.Response:
        ends = self._desk.end()
        text = b"{}" if ends else b'{"error":"a recording ends by itself"}'
        return self._response(text, weight=0, status=200 if ends else 409)

    async def _any(self, request: web.Request) -> web.StreamResponse:
        self.requests_open += 1
        try:
            query = {name: request.query.getall(name) for name in request.query}
            resource = self._dialect.resource(request.path, query, await request.read())
            return await self._answer(request, resource)
        except BadRequest as error:
            return self._response(error.body, weight=1, status=error.status)
        finally:
            self.requests_open -= 1

    async def _answer(self, request: web.Request, resource: Resource | None) -> web.StreamResponse:
        if resource is not None and resource.kind == "book":
            return await self._answer_book(request, resource)
        if resource is None:
            raise self._dialect.no_path()
        if resource.kind == "instruments":
            body: RestBody | None = self._desk.instruments(resource)
        else:
            body = self._desk.other(resource)
        if body is None:
            raise self._dialect.no_path()
        return self._response(body.text, weight=resource.weight, body=body)

    async def _answer_book(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        symbol = resource.symbol
        if symbol not in self._desk.tickers():
            raise self._dialect.no_symbol()
        body, ticket = await self._desk.book(symbol, resource.levels)
        response = self._response(body.text, weight=resource.weight, body=body)
        reached = False
        try:
            # Written here, not by returning, to know whether it went out.
            if request.transport is not None and not request.transport.is_closing():
                await response.prepare(request)
                await response.write_eof()
                reached = request.transport is not None and not request.transport.is_closing()
        except ConnectionError:
            pass
        finally:
            self._desk.settle(ticket, symbol, reached=reached)
        return response

    def _response(
        self, text: bytes, *, weight: int, status: int = 200, body: RestBody | None = None
    ) -> web.Response:
        headers = {}
        if self._dialect.weight_header:
            headers[self._dialect.weight_header] = str(self._weights.use(weight))
        if body is not None:
            headers[SOURCE_HEADER] = "own-book" if body.is_own else "recorded"
            if self._has_times:
                headers[RECEIVED_HEADER] = str(body.received_ns)
        return web.Response(
            body=text, status=status, headers=headers, content_type="application/json"
        )
