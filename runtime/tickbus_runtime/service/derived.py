"""What every fold that publishes derived messages keeps: their numbers, and traces on their way."""

from __future__ import annotations


class MessageNumbers:
    """`message_no` of a derived stream: counts from 0 in each epoch; a part of the fold's state."""

    def __init__(self, epoch: int = 0, message_no: int = 0) -> None:
        self.epoch = epoch
        self.message_no = message_no
        """that the next message of the epoch gets"""

    def take(self, epoch: int) -> int:
        """The number of a message whose rows were closed in `epoch`."""
        if epoch > self.epoch:
            self.epoch, self.message_no = epoch, 0
        self.message_no += 1
        return self.message_no - 1


class TracesOnTheWay:
    """Traces of sampled packets until a derived row contains the packet.

    One a ticker; lost at a restart, as traces may be.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, str]] = {}

    def note(self, ticker: str, packet_id: int, traceparent: str) -> None:
        """A sampled packet has been read."""
        self._of[ticker] = (packet_id, traceparent)

    def take(self, ticker: str, packet_id: int) -> str | None:
        """The trace that goes on in a message whose last row contains everything to `packet_id`."""
        if not self._of:
            return None
        sampled, traceparent = self._of.get(ticker, (0, ""))
        if not traceparent or sampled > packet_id:
            return None
        del self._of[ticker]
        return traceparent
