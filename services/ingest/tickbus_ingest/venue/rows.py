"""What `Venue.read` appends to: events of any feed, answers, notices; a list of tuples a feed.

A frame may hold any number of events. Each remembers its frame, hence its packet and receive
time. At the end of a flush the tuples become columns once (`session/decoding.py`).

Times are microseconds. A venue's milliseconds may be given as they are: they are told apart by
their size (below 10**14), a whole column at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.venue.contract import OnError
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS

if TYPE_CHECKING:
    from tickbus_ingest.venue.contract import BookForm

NO_LEVELS = b"[]"
WHOLE_LINE = -1
"""Instead of a ticker's place: all that the connection carries."""
SNAPSHOT = 1
"""Mark of an l2 event that is a whole book."""

TICKER_VALUES = BY_NAME["ticker"].values()
DERIVATIVE_VALUES = BY_NAME["derivative"].values()


class Control(msgspec.Struct, frozen=True):
    """A frame without market data: an answer, a notice."""

    frame: int
    text: str
    error: bool = False
    """the venue refused something that we asked for"""
    fatal: bool = False
    """asking again is no use"""
    closing: bool = False
    """the venue will hang up: open another connection first"""
    stream: str = ""
    """name of the one subscription that it is about"""
    answer: bool = False
    """it answers a request"""
    notice: bool = False
    """what the venue says of itself and all should know: maintenance, a shutdown"""


class Rows:
    """Collects the events of one flush. `Venue.read` sees the methods without an underscore."""

    def __init__(self, index: Mapping[str, int]) -> None:
        self._index = index
        self.frame = 0
        """number of the frame that is read now, within the flush"""
        self.events: dict[str, list[tuple[Any, ...]]] = {feed.name: [] for feed in FEEDS}
        """by feed: rows as `Feed.layout` says; behind a trade's its id"""
        self._trades, self._updates = self.events["trade"], self.events["l2"]
        self._quotes = self.events["bbo"]
        self.level_texts: list[bytes | Raw] = []
        """JSON of bids and asks of each update, two a row"""
        self.forms: dict[int, BookForm] = {}
        """place among the updates of l2 -> what the books of its subscription are like"""
        self.controls: list[Control] = []
        self.replies: list[tuple[int, bytes]] = []
        self.losses: list[tuple[int, str, int]] = []
        """frame, reason, place of the ticker or WHOLE_LINE"""
        self.ignored_frames: list[tuple[int, str]] = []

    def _place(self, ticker: str) -> int:
        place = self._index.get(ticker)
        if place is None:
            raise Reject(f"ticker {ticker[:80]!r} was not asked for")
        return place

    def knows(self, ticker: str) -> bool:
        """Whether the ticker was asked for: a frame of the whole market names others too."""
        return ticker in self._index

    # ---------------------------------------------------------------- events

    def trade(
        self,
        ticker: str,
        time_us: int,
        trade_id: str | int,
        side: int,
        price: float,
        qty: float,
        flags: int = 0,
        number: int = ABSENT,
        event_us: int = 0,
    ) -> None:
        """A trade: match time, the taker's side (BUY 1, SELL -1, UNKNOWN 0), flags of TradeFlag.

        `number`: of SEQUENCED venues; DENSE ones have it in `trade_id`. `event_us`: when the venue
        sent it, where it says so.
        """
        place = self._index.get(ticker)
        if place is None:
            raise Reject(f"ticker {ticker[:80]!r} was not asked for")
        self._trades.append(
            (self.frame, place, time_us, event_us, number, side, price, qty, flags, trade_id)
        )

    def l2(
        self,
        ticker: str,
        time_us: int,
        bids: bytes | Raw,
        asks: bytes | Raw,
        update_id: int = ABSENT,
        prev_update_id: int = ABSENT,
        *,
        snapshot: bool = False,
        engine_us: int = 0,
        checksum: int = ABSENT,
        form: BookForm | None = None,
    ) -> None:
        """A book update or a whole book: absolute sizes, 0 removes a level.

        `bids`, `asks`: the JSON text of each side as `Venue.levels` describes it; where each level
        tells its side, the list of both, and `b""`. `time_us` 0: the venue sends none.
        `prev_update_id`: the update that this one follows (LINKED). `form`: of the book that begins
        with this whole one.
        """
        place = self._index.get(ticker)
        if place is None:
            raise Reject(f"ticker {ticker[:80]!r} was not asked for")
        if form is not None:
            self.forms[len(self._updates)] = form
        self._updates.append(
            (self.frame, place, time_us, engine_us, prev_update_id, update_id, snapshot, checksum)
        )
        self.level_texts += (bids, asks)

    def bbo(
        self,
        ticker: str,
        time_us: int,
        bid_px: float,
        bid_sz: float,
        ask_px: float,
        ask_sz: float,
        update_id: int = ABSENT,
        engine_us: int = 0,
    ) -> None:
        """The best quotes; `time_us` 0: the venue sends none; 0 at 0 where a side is empty."""
        place = self._index.get(ticker)
        if place is None:
            raise Reject(f"ticker {ticker[:80]!r} was not asked for")
        self._quotes.append(
            (self.frame, place, time_us, engine_us, update_id, bid_px, bid_sz, ask_px, ask_sz)
        )

    def ticker(
        self,
        ticker: str,
        time_us: int,
        *,
        engine_us: int = 0,
        trade_count: int | None = None,
        **values: float | None,
    ) -> None:
        """Statistics of 24 h: any of TICKER_VALUES; what is left out or None has not changed."""
        self.events["ticker"].append(
            (
                self.frame,
                self._place(ticker),
                time_us,
                engine_us,
                ABSENT if trade_count is None else trade_count,
                *_values(values, TICKER_VALUES),
            )
        )

    def derivative(
        self,
        ticker: str,
        time_us: int,
        *,
        engine_us: int = 0,
        next_funding_us: int | None = None,
        funding_interval_ms: int | None = None,
        **values: float | None,
    ) -> None:
        """Mark price, funding, open interest: any of DERIVATIVE_VALUES; None has not changed."""
        self.events["derivative"].append(
            (
                self.frame,
                self._place(ticker),
                time_us,
                engine_us,
                ABSENT if next_funding_us is None else next_funding_us,
                ABSENT if funding_interval_ms is None else funding_interval_ms,
                *_values(values, DERIVATIVE_VALUES),
            )
        )

    def liquidation(
        self,
        ticker: str,
        time_us: int,
        side: int,
        price: float,
        qty: float,
        *,
        average_price: float = nan,
        filled_qty: float = nan,
        flags: int = 0,
        engine_us: int = 0,
    ) -> None:
        """A liquidation: `side` of its order (BUY 1 closes a short, SELL -1 a long)."""
        self.events["liquidation"].append(
            (
                self.frame,
                self._place(ticker),
                time_us,
                engine_us,
                side,
                price,
                average_price,
                qty,
                filled_qty,
                flags,
            )
        )

    # ------------------------------------------------------------- the rest

    def control(
        self,
        text: str,
        *,
        error: bool = False,
        fatal: bool = False,
        closing: bool = False,
        stream: str = "",
        answer: bool = False,
        notice: bool = False,
    ) -> None:
        """The frame is an answer or a notice; see Control."""
        self.controls.append(
            Control(self.frame, text, error, fatal, closing, stream, answer, notice)
        )

    def refused(
        self, text: str, follows: OnError, *, stream: str = "", answer: bool = True
    ) -> None:
        """The frame is an error; `stream`: the subscription that it names, if it names one."""
        is_wrong = follows is OnError.REJECT and bool(stream)
        self.control(
            text[:300] or "refused without a reason",
            error=True,
            fatal=is_wrong or follows is OnError.FATAL,
            closing=follows is OnError.RESYNC,
            stream=stream,
            answer=answer,
        )

    def reply(self, frame: bytes) -> None:
        """Send this back over the same connection: a pong, an answer to a test."""
        self.replies.append((self.frame, frame))

    def lost(self, reason: str, ticker: str = "") -> None:
        """Messages of this connection are missing: all that it carries must be synced anew.

        `ticker`: only updates of its book are missing.
        """
        place = self._place(ticker) if ticker else WHOLE_LINE
        self.losses.append((self.frame, reason, place))

    def ignored(self, channel: str) -> None:
        """The frame is of a known channel that is no feed of ours, or that nobody asked for."""
        self.ignored_frames.append((self.frame, channel))

    def undo(self) -> None:
        """Take back everything of the present frame: it was refused."""
        frame = self.frame
        while self._updates and self._updates[-1][0] == frame:
            self._updates.pop()
            del self.level_texts[-2:]
            self.forms.pop(len(self._updates), None)
        for events in self.events.values():
            while events and events[-1][0] == frame:
                events.pop()
        for others in (self.replies, self.ignored_frames):
            while others and others[-1][0] == frame:
                others.pop()
        while self.losses and self.losses[-1][0] == frame:
            self.losses.pop()
        while self.controls and self.controls[-1].frame == frame:
            self.controls.pop()


def _values(given: dict[str, float | None], names: Iterable[str]) -> list[float]:
    found = [given.pop(name, None) for name in names]
    if given:
        raise TypeError(f"no such values: {', '.join(given)}")
    return [nan if value is None else value for value in found]
