"""One WebSocket connection as the venue sees it: its URL, its subscriptions, its requests.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tickbus_sim.dialect import Dialect, Topic, topic_of

STREAMS_MAX = 1024
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
RequestId: TypeAlias = int | str | None


@dataclass(frozen=True)
class Refusal:
    """Why a connection is closed at once."""

    reason: str


@dataclass
class Line:
    """State of one connection."""

    dialect: Dialect
    route: str
    combined: bool  # frames in the envelope {"stream", "data"}
    with_times: bool  # frames preceded by the capture's receive time
    streams: dict[str, Topic] = field(default_factory=dict)

    def topics(self) -> frozenset[Topic]:
        """What this connection receives: a stream of the other route stays silent."""
        return frozenset(
            topic
            for topic in self.streams.values()
            if self.dialect.route_of(topic.family) == self.route
        )

    def answer(self, request: bytes) -> bytes:
        """Carries out one request and returns the frame that answers it."""
        try:
            parsed = msgspec.json.decode(request)
        except msgspec.DecodeError as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(parsed, dict):
            return _error(2, "Invalid request: expected an object", None)
        request_id = parsed.get("id")
        if not _is_request_id(request_id):
            text = "Invalid request: request ID must be an unsigned integer"
            return _error(2, text, None)
        method = parsed.get("method")
        if method not in METHODS:
            expected = ", ".join(f"`{known}`" for known in METHODS)
            text = f"Invalid request: unknown variant `{method}`, expected one of {expected}"
            return _error(2, text, request_id)
        return self._carry_out(str(method), parsed.get("params", []), request_id)

    def _carry_out(self, method: str, params: Any, request_id: RequestId) -> bytes:
        if not isinstance(params, list):
            return _error(2, "Invalid request: params must be an array", request_id)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(self.streams), request_id)
        if method.endswith("_PROPERTY"):
            return self._property(method, params, request_id)
        wrong = [name for name in params if not _is_stream(name)]
        if wrong or not params:
            return _error(2, "Invalid request: invalid stream", request_id)
        if method == "UNSUBSCRIBE":
            for name in params:
                self.streams.pop(name, None)
        else:
            added = {name: topic_of(name) for name in params}
            if len(self.streams | added) > STREAMS_MAX:
                return _error(2, "Invalid request: too many subscriptions", request_id)
            self.streams |= added
        return _result(None, request_id)

    def _property(self, method: str, params: list[Any], request_id: RequestId) -> bytes:
        if not params or not isinstance(params[0], str):
            return _error(2, "Invalid request: property name must be a string", request_id)
        if params[0] != "combined":
            return _error(0, "Unknown property", request_id)
        if method == "GET_PROPERTY":
            return _result(self.combined, request_id)
        if len(params) != 2 or not isinstance(params[1], bool):
            return _error(1, "Invalid value type: expected Boolean", request_id)
        self.combined = params[1]
        return _result(None, request_id)


def open_line(dialect: Dialect, target: str, *, has_times: bool) -> Line | Refusal:
    """The connection that a request for `target` opens, with the streams that its URL names."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    for route in dialect.routes:
        mode, _, names = parts.path.removeprefix(route).strip("/").partition("/")
        if parts.path.startswith(f"{route}/") and mode in ("ws", "stream"):
            break
    else:
        return Refusal(_wrong_path(dialect, parts.path))
    with_times = query.get("tickbus_times") == ["1"]
    if with_times and not has_times:
        return Refusal("no receive times here: start the venue with --capture-times")
    listed = [names, *query.get("streams", [])]
    streams = [name for part in listed for name in unquote(part).split("/") if name]
    wrong = [name for name in streams if not _is_stream(name)]
    if wrong:
        return Refusal(f"invalid stream {wrong[0][:40]}")
    return Line(
        dialect=dialect,
        route=route,
        combined=mode == "stream",
        with_times=with_times,
        streams={name: topic_of(name) for name in streams},
    )


def _wrong_path(dialect: Dialect, path: str) -> str:
    known = ", ".join(f"{route}/{mode}" for route in dialect.routes for mode in ("ws", "stream"))
    if path.strip("/").partition("/")[0] in ("ws", "stream"):
        return f"unrouted URLs were retired on 2026-04-23: use {known}"
    return f"no such path: use {known}"


def _is_stream(name: object) -> bool:
    return isinstance(name, str) and ("@" in name or name.startswith("!")) and len(name) > 1


def _is_request_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, int) or (isinstance(value, str) and len(value) <= 36)


def _result(value: object, request_id: RequestId) -> bytes:
    return msgspec.json.encode({"result": value, "id": request_id})


def _error(code: int, text: str, request_id: RequestId) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": request_id})
