"""Sends requests to receivers, and tells of an answer no more than its status and words.

Addresses hold secrets (a bot's token, a webhook's path): no error, log line or traceback of this
file names one. https://docs.aiohttp.org/en/stable/client_reference.html
"""

from __future__ import annotations

import aiohttp

from tickbus_alerts.receivers.receiver import Answer, Post

TIMEOUT_S = 20.0
ANSWER_BYTES = 64 * 1024


class Poster:
    """One HTTP session."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def send(self, post: Post) -> Answer:
        """The answer, whatever it is; status 0 with the reason where none came."""
        try:
            async with self._session.post(
                post.url, json=post.body, allow_redirects=False
            ) as response:
                body = await response.content.read(ANSWER_BYTES)
                retry_after = response.headers.get("Retry-After", "")
                return Answer(response.status, body.decode(errors="replace"), retry_after)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Answer(0, _why(error))

    async def close(self) -> None:
        """Give the connections back."""
        await self._session.close()


def _why(error: BaseException) -> str:
    """The kind of an error, in words without an address: the text of some names the whole URL."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its TLS certificate is not accepted"
    strerror = getattr(cause, "strerror", None)
    return str(strerror) if strerror else type(error).__name__
