"""What happens in a synthetic market, written down before it is sent: the truth to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import msgspec

from tickbus_sim.book import NaiveBook
from tickbus_sim.events import Told, as_facts


class Journal:
    """A file of JSON lines; each is in the file when the call that writes it returns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def books(self, books: Iterable[tuple[str, NaiveBook]], time_ms: int) -> None:
        """Whole books as the venue shows them: (ticker, book) at a time of the venue."""
        self._write(
            {
                "event": "book",
                "ticker": ticker,
                "bids": list(book.bids.items()),
                "asks": list(book.asks.items()),
                "last_id": book.last_id,
                "depth": book.depth,
                "time_ms": time_ms,
            }
            for ticker, book in books
        )

    def events(self, told: Iterable[Told], number: int) -> None:
        """Events in their order, each with the numbers of its frames; the first one's is given."""
        lines = []
        for one in told:
            end = number + one.frames
            lines.append(as_facts(one.event) | {"frames": list(range(number, end))})
            number = end
        self._write(lines)

    def faults(self, touched: Iterable[dict[str, Any]]) -> None:
        """What the faults did: kind, frame, and the text that was sent instead of the frame's."""
        self._write({"event": "fault"} | one for one in touched)

    def unheard(self, numbers: list[int]) -> None:
        """Frames that go to nobody: no client is connected, or has asked for them."""
        if numbers:
            self._write([{"event": "unheard", "frames": numbers}])

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if text:
            self._file.write(text)
            self._file.flush()
