"""What went wrong, named by what to do next.

Foreign errors are translated into these four at the border of the library that raised them.
"""

from __future__ import annotations


class TickbusError(Exception):
    """Base of all our errors; the text names the cause and the remedy."""


class Retry(TickbusError):
    """Try the same again later, with backoff."""


class Resync(TickbusError):
    """The book of `ticker` can no longer be trusted: fetch a new snapshot."""

    def __init__(self, ticker: str, reason: str) -> None:
        super().__init__(f"{ticker}: {reason}")
        self.ticker = ticker
        self.reason = reason


class Reject(TickbusError):
    """This message or frame is refused: counted, kept in the dead letters, nothing else touched."""


class Fatal(TickbusError):
    """The job cannot go on; the text is the one line that the user sees."""
