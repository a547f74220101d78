"""State of every fold that publishes derived messages: message numbers, and open traces."""

from __future__ import annotations


class MessageNumbers:
    """`message_no` of a derived stream: counts from 0 in each epoch; a part of the fold's state."""

    def __init__(self, epoch: int = 0, message_no: int = 0) -> None:
        self.epoch = epoch
        self.message_no = message_no
        """of the next message of the epoch"""

    def take(self, epoch: int) -> int:
        """The next number of a message whose rows were closed in `epoch`."""
        if epoch > self.epoch:
            self.epoch, self.message_no = epoch, 0
        self.message_no += 1
        return self.message_no - 1


class TracesOnTheWay:
    """Traces of sampled packets until a derived row contains the packet.

    One trace a ticker. A restart loses them, which is allowed.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, str]] = {}

    def note(self, ticker: str, packet_id: int, traceparent: str) -> None:
        """A sampled packet has been read."""
        self._of[ticker] = (packet_id, traceparent)

    def take(self, ticker: str, packet_id: int) -> str | None:
        """The trace to pass on with a message whose last row includes packets up to `packet_id`."""
        if not self._of:
            return None
        sampled, traceparent = self._of.get(ticker, (0, ""))
        if not traceparent or sampled > packet_id:
            return None
        del self._of[ticker]
        return traceparent
