"""What went wrong, named by what to do next.

Foreign errors are translated into these three at the border of the library that raised them.
"""

from __future__ import annotations


class TickbusError(Exception):
    """Base of all our errors; the text names the cause and the remedy."""


class Retry(TickbusError):
    """Try the same again later, with backoff."""


class Reject(TickbusError):
    """This message or frame is refused: counted, kept in the dead letters, nothing else touched."""


class Fatal(TickbusError):
    """The job cannot go on; the text is the one line that the user sees."""
