"""One open WebSocket connection, whichever library serves it. Nothing here decides."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tickbus_schemas.errors import Fatal, Retry

from tickbus_ingest.wire.intake import Intake

FRAME_BYTES_MAX = 64 * 2**20
"""Far above what is accepted: an oversized frame becomes a dead letter, not a disconnect."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
END_OF_INPUT = 4900
"""Close code of the simulated venue: there is nothing more to send."""
BROKEN = 1006
"""The connection ended without a word: https://www.rfc-editor.org/rfc/rfc6455#section-7.1.5"""
TOO_BIG = 1009


@dataclass(frozen=True)
class Closed:
    """Why a connection ended."""

    code: int
    reason: str


class HandshakeRefused(Retry):
    """The venue answered the request for a connection with an HTTP status."""

    def __init__(self, text: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class Socket(ABC):
    """One open connection; its frames go through its intake."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._why: Closed | None = None
        """why we hung up ourselves"""

    @abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send one text frame."""

    @abstractmethod
    async def ping(self) -> None:
        """Send a WebSocket ping; the answer is not waited for."""

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye and hang up."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading: the sender is held by TCP."""

    @abstractmethod
    def resume(self) -> None:
        """Read on."""

    def _end(self, code: int, reason: str) -> None:
        self.intake.end()
        if not self.closed.done():
            self.closed.set_result(self._why or Closed(code, reason))


async def connect(client: str, url: str, intake: Intake, local: str = "") -> Socket:
    """Open a connection with one of the two clients; redirects are not followed.

    local: address of this machine to connect from; "" leaves it to the system.

    Retry when the venue cannot be reached, HandshakeRefused when it does not want us.
    """
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            if client == "picows":
                from tickbus_ingest.wire import with_picows

                return await with_picows.open_socket(url, intake, local)
            from tickbus_ingest.wire import with_websockets

            return await with_websockets.open_socket(url, intake, local)
    except Retry:
        raise
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise Retry(f"{without_query(url)}: {error or type(error).__name__}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("websockets", "picows"):
            raise Retry(f"{without_query(url)}: {error}") from None
        raise


def choose_client(wanted: Literal["auto", "websockets", "picows"]) -> str:
    """The fastest client installed, or the one asked for; Fatal when that is missing."""
    installed = importlib.util.find_spec("picows") is not None
    if wanted == "picows" and not installed:
        raise Fatal("ingest.websocket_client: picows is not installed: pip install picows")
    return "picows" if wanted != "websockets" and installed else "websockets"


def check_local(addresses: Sequence[str]) -> None:
    """Fatal for an address that no connection can come from."""
    for one in addresses:
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(one).version == 6 else socket.AF_INET
            with socket.socket(family) as trial:
                trial.bind((one, 0))
        except ValueError:
            raise Fatal(f"ingest.bind: {one!r} is no IP address") from None
        except OSError as error:
            raise Fatal(
                f"ingest.bind: {one} is no address of this machine ({error.strerror}): "
                "`ip address` lists those that are"
            ) from None


def without_query(url: str) -> str:
    """The address as it may stand in a log: a query may hold a token."""
    return url.partition("?")[0]
