"""The venue's REST side: depth snapshots, instrument list, time, and its own status.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiohttp import web
from tickbus_schemas.errors import Fatal

from tickbus_sim.dialect import Dialect

WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
RECEIVED_HEADER = "X-Tickbus-Received-Ns"
_MINUTE_NS = 60 * 1_000_000_000


@dataclass(frozen=True)
class RestBody:
    """An answer, and when the recorder received it (None: nobody recorded it)."""

    text: bytes
    received_ns: int | None = None


class Desk(Protocol):
    """What the REST side asks the venue for."""

    def tickers(self) -> list[str]:
        """All tickers that have books."""

    async def depth(self, ticker: str, limit: int) -> tuple[RestBody, int]:
        """The ticker's snapshot, as soon as it may be known, and a ticket to settle."""

    def settle(self, ticket: int, ticker: str, *, reached: bool) -> None:
        """Whether the answer reached whoever asked."""

    def exchange_info(self) -> RestBody:
        """The instrument list."""

    def other(self, resource: str, ticker: str) -> RestBody | None:
        """Any other recorded body; None when there is none."""

    def status(self) -> Mapping[str, Any]:
        """Counts and position."""


class BadRequest(Exception):
    """A request that the venue answers with its error object."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.body = msgspec.json.encode({"code": code, "msg": text})


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


def depth_limit(dialect: Dialect, text: str | None) -> int:
    """The limit of a depth request. Errors: BadRequest as the venue words it."""
    if text is None:
        return dialect.depth_limit_default
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        shown = "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."
        raise BadRequest(-1100, shown)
    limit = int(text)
    if dialect.depth_limits and limit not in dialect.depth_limits:
        raise BadRequest(-4021, f"{limit} is not valid depth limit.")
    if limit == 0:
        raise BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, dialect.depth_limit_max)


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
        root = self._dialect.rest_root
        app = web.Application()
        app.add_routes(
            [
                web.get(f"{root}/ping", self._ping),
                web.get(f"{root}/time", self._time),
                web.get(f"{root}/exchangeInfo", self._exchange_info),
                web.get(f"{root}/depth", self._depth),
                web.get("/tickbus/status", self._status),
                web.get(f"{root}/{{resource}}", self._other),
            ]
        )
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

    async def _ping(self, request: web.Request) -> web.Response:
        return self._response(b"{}", weight=1)

    async def _time(self, request: web.Request) -> web.Response:
        text = msgspec.json.encode({"serverTime": time.time_ns() // 1_000_000})
        return self._response(text, weight=1)

    async def _exchange_info(self, request: web.Request) -> web.Response:
        body = self._desk.exchange_info()
        return self._response(body.text, weight=20, received_ns=body.received_ns)

    async def _status(self, request: web.Request) -> web.Response:
        return self._response(msgspec.json.encode(self._desk.status()), weight=0)

    async def _other(self, request: web.Request) -> web.Response:
        resource = request.match_info["resource"]
        body = self._desk.other(resource, request.query.get("symbol", ""))
        if body is None:
            return self._response(b'{"code":-1,"msg":"no such path"}', weight=1, status=404)
        return self._response(body.text, weight=1, received_ns=body.received_ns)

    async def _depth(self, request: web.Request) -> web.StreamResponse:
        self.requests_open += 1
        try:
            return await self._answer_depth(request)
        except BadRequest as error:
            return self._response(error.body, weight=1, status=400)
        finally:
            self.requests_open -= 1

    async def _answer_depth(self, request: web.Request) -> web.StreamResponse:
        ticker = request.query.get("symbol", "")
        if not ticker:
            shown = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            raise BadRequest(-1102, shown)
        if ticker not in self._desk.tickers():
            raise BadRequest(-1121, "Invalid symbol.")
        limit = depth_limit(self._dialect, request.query.get("limit"))
        body, ticket = await self._desk.depth(ticker, limit)
        weight = self._dialect.depth_weight(limit)
        response = self._response(body.text, weight=weight, received_ns=body.received_ns)
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
            self._desk.settle(ticket, ticker, reached=reached)
        return response

    def _response(
        self, text: bytes, *, weight: int, status: int = 200, received_ns: int | None = None
    ) -> web.Response:
        headers = {WEIGHT_HEADER: str(self._weights.use(weight))}
        if self._has_times and received_ns is not None:
            headers[RECEIVED_HEADER] = str(received_ns)
        return web.Response(
            body=text, status=status, headers=headers, content_type="application/json"
        )
