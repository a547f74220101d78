"""Connection to NATS that never gives up, and hands whole bursts of messages to a reader.

nats-py with three additions for the hot paths. `pour` delivers the messages of a subscription
straight from the parser. `post` writes commands straight to the socket: nats-py keeps what it could
not send and sends it after a reconnect, when its owner may have sent it again already. `on_change`
tells a listener of each lost and each repaired connection.
https://nats-io.github.io/nats.py/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from tickbus_schemas.errors import Fatal, Retry

from tickbus.log.burst import BurstParser, Sink, run_reader
from tickbus.log.transport import BurstTransport

DEFAULT_URL = "nats://127.0.0.1:4222"
URL_VARIABLE = "TICKBUS_NATS__URL"
CONNECT_TIMEOUT_S = 5
PING_INTERVAL_S = 5
RECONNECT_WAIT_S = 0.1
POUR_S = 2
PENDING_BYTES = 1024 * 1024
"""nats-py forces a flush of its send buffer beyond this; while disconnected nothing is kept."""
BUS_AWAY = (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError)
"""What a request raises while the server, or the leader of a stream, is away. A NotFoundError is
one of them too: catch it first."""


class Connection(Client):
    """A NATS client of tickbus; made by `connect`."""

    def __init__(self) -> None:
        super().__init__()
        # Every byte that the server sends goes through here; test_connection holds nats-py to it.
        self._ps = self._parser = BurstParser(self, run_reader())
        self._listeners: list[Callable[[], None]] = []
        self.losses = 0
        """How often the connection was lost; what was sent before a loss may not have arrived."""

    async def open(
        self,
        servers: list[str],
        name: str,
        count: Callable[[str], None] | None,
        options: dict[str, Any],
    ) -> None:
        """Connect once, to the first of these servers; a later loss is repaired for ever."""

        async def failed(error: Exception) -> None:
            if count is not None:
                count(type(error).__name__)

        if not servers[0].startswith(("ws:", "wss:")):
            self._transport = BurstTransport()  # type: ignore[no-untyped-call]  # so in nats-py

        async def lost() -> None:
            self.losses += 1
            self._tell()

        async def back() -> None:
            self._tell()

        await self.connect(
            servers,
            name=name,
            error_cb=failed,
            disconnected_cb=lost,
            reconnected_cb=back,
            connect_timeout=CONNECT_TIMEOUT_S,
            allow_reconnect=False,  # so that a failure shows at once
            dont_randomize=True,
            max_reconnect_attempts=1,  # with -1 nats-py would try a refused port for ever
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=PENDING_BYTES,
            **options,
        )
        self.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each loss and each repair; the function returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    async def close(self) -> None:
        """Send what is buffered and leave; without a server, leave."""
        if not self.is_connected:
            # nats-py would try to send it, fail, and stay half open.
            self._pending.clear()
            self._pending_data_size = 0
        await super().close()

    async def post(self, commands: list[bytes]) -> bool:
        """Write whole protocol commands to the present connection; False when there is none.

        False: nothing was sent. True: perhaps; only an answer tells.
        """
        if not self.is_connected or self._transport is None:
            return False
        # After an error some bytes may have left; nats-py notices the loss and reconnects.
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.writelines(commands)
            await self._transport.drain()  # type: ignore[no-untyped-call]  # untyped in nats-py
        return True

    async def pour(self, subject: str, sink: Sink) -> Subscription:
        """Subscribe; messages go to `sink` as soon as they are parsed. End it with `stop`.

        When this returns, `post` does not overtake the subscription.

        The sink must not block or raise: nothing stands between it and the socket.
        """
        subscription = await self.subscribe(subject)
        self._parser.sinks[subscription._id] = sink
        # `post` would overtake what nats-py has not written yet. Shielded: nats-py swallows the
        # cancellation of a flush, and its answer then breaks the connection.
        await asyncio.shield(self._flushed())
        return subscription

    async def _flushed(self) -> None:
        # Without a connection this fails; nats-py subscribes first when it reconnects.
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await self.flush(timeout=POUR_S)

    async def stop(self, subscription: Subscription) -> None:
        """End a subscription of `pour`."""
        self._parser.sinks.pop(subscription._id, None)
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError):
            return  # the connection is gone, and the subscription with it


async def connect(
    url: str | None = None,
    *,
    name: str = "tickbus",
    user: str = "",
    password: str = "",
    creds_file: str = "",
    data_dir: str | Path = "data",
    count: Callable[[str], None] | None = None,
) -> Connection:
    """Connect to a bus; once connected it reconnects for ever by itself.

    `url`: default is the environment's TICKBUS_NATS__URL, else the server that `tickbus up` runs
    for `data_dir` (its `_run/nats.json`), else nats://127.0.0.1:4222. That file also gives user
    and password where none are given for its server. `count` is called with the class of each
    error that the client reports. Retry when no server answers, Fatal when it refuses the login.
    """
    run_file = _run_file(Path(data_dir))
    url = url or os.environ.get(URL_VARIABLE) or run_file.get("url") or DEFAULT_URL
    if not (user or creds_file) and url == run_file.get("url"):
        user, password = run_file.get("user", ""), run_file.get("password", "")
    options: dict[str, Any] = {"reconnect_time_wait": RECONNECT_WAIT_S}
    if user:
        options |= {"user": user, "password": password}
    if creds_file:
        options["user_credentials"] = creds_file
    servers = [part.strip() for part in url.split(",")]
    for first in range(len(servers)):
        client = Connection()
        try:
            await client.open([*servers[first:], *servers[:first]], name, count, options)
            return client
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await client.close()  # nats-py leaves the socket open when the server refuses the login
            reason = str(error) or type(error).__name__
            # By its text: nats-py has a class for it, but raises the general one as well.
            if "authorization" in reason.lower() or isinstance(error, FileNotFoundError):
                raise Fatal(
                    f"NATS at {redacted(url)} refuses the login ({reason}): check user and password"
                ) from None
    raise Retry(
        f"no NATS server at {redacted(url)} ({reason}); is 'tickbus up' or a server running?"
    )


def _run_file(data_dir: Path) -> dict[str, str]:
    """What the embedded server wrote about itself; empty where there is none."""
    try:
        found = json.loads((data_dir / "_run" / "nats.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def redacted(url: str) -> str:
    """The URL without credentials, for people and logs."""
    return ",".join(
        f"{scheme}{separator}{rest.rpartition('@')[2]}"
        for scheme, separator, rest in (part.strip().rpartition("://") for part in url.split(","))
    )
