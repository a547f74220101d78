"""REST requests: one at a time goes out, one bounded body comes back. Nothing here decides."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from tickbus_schemas.errors import Retry

from tickbus_ingest.venue.contract import Get
from tickbus_ingest.wire.socket import without_query

TIMEOUT_S = 20.0
BODY_BYTES_MAX = 64 * 2**20
"""The largest list of instruments is a quarter of it."""
PIECE_BYTES = 2**16
_RECEIVED = "X-Tickbus-Received-Ns"


@dataclass(frozen=True)
class Answer:
    """What REST said."""

    status: int
    data: bytes
    headers: Mapping[str, str]
    """names in any case"""
    url: str
    received_ns: int
    monotonic_ns: int


class Rest:
    """HTTP GET and POST at a venue's addresses."""

    def __init__(self, urls: Sequence[str], *, capture_times: bool = False) -> None:
        """`urls`: by `Get.host`. `capture_times`: receive times come with the answers."""
        self.urls = [url.rstrip("/") for url in urls]
        self._capture_times = capture_times
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, get: Get) -> Answer:
        """One answer, whatever its status; redirects are not followed.

        Retry when there is no answer, or none of BODY_BYTES_MAX bytes at most.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        url = self.urls[get.host] + get.path
        asked = (
            self._session.post(
                url,
                data=get.body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            )
            if get.body
            else self._session.get(url, allow_redirects=False)
        )
        try:
            async with asked as response:
                data = await _bounded(response, url)
                now_ns = time.time_ns()
                if self._capture_times:
                    now_ns = int(response.headers.get(_RECEIVED, now_ns))
                return Answer(
                    response.status, data, response.headers, url, now_ns, time.monotonic_ns()
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            raise Retry(f"{without_query(url)}: {text}") from None

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()


async def _bounded(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body, unpacked piece by piece; Retry as soon as it is too long."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        size += len(piece)
        if size > BODY_BYTES_MAX:
            response.close()  # the rest is not waited for
            raise Retry(f"{without_query(url)}: a body of more than {BODY_BYTES_MAX} bytes")
        pieces.append(piece)
    return b"".join(pieces)
