"""What a venue's dialect says: the contract between one exchange's protocol and the local venue.

A dialect is one file in `dialects/`, found by its name, which is the exchange's token. The core
(captures, play-out, sockets, REST, market, faults) knows connections, requests that name topics,
URLs that name bodies, and time; no word of any venue. Prices and sizes stay decimal text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.book import BookEvent, NaiveBook
from tickbus_sim.events import Change, Derivative, Instrument, Liquidation, Quote, Statistics, Trade

POLICY_VIOLATION = 1008
_T = TypeVar("_T")


@dataclass(frozen=True)
class Topic:
    """What one subscription asks for: a symbol and a channel family.

    Update speeds of a channel are one family: a capture recorded with one of them answers a
    subscription to any. A topic of the whole market has no symbol.
    """

    symbol: str
    """as payloads and REST spell it"""
    family: str
    channel: str = field(default="", compare=False)
    """as the venue's clients name it, with its speed"""


CONTROL = Topic("", "control")
"""Recorded answers, heartbeats, notices: whoever plays the recording makes its own."""


class Books(Enum):
    """How a client comes by a full book."""

    PULLED = "pulled"
    PUSHED = "pushed"
    """the first message of a subscription"""
    WHOLE = "whole"
    """each message is a whole book"""


@dataclass(frozen=True)
class Refusal:
    """Why a connection is closed at once."""

    reason: str


@dataclass
class Line:
    """One connection as the venue sees it."""

    route: str
    with_times: bool = False  # frames preceded by the capture's receive time
    streams: dict[str, Topic] = field(default_factory=dict)
    """name of each subscription -> its topic"""
    memory: dict[str, Any] = field(default_factory=dict)
    """the dialect's own"""
    depths: Mapping[str, int] = field(default_factory=dict)
    """symbol -> levels a side of its recorded book; others are as deep as the dialect's"""


@dataclass(frozen=True)
class Reply:
    """What a client's frame gives: frames back, then perhaps the end of the connection."""

    frames: tuple[bytes, ...] = ()
    close: tuple[int, str] | None = None
    books: tuple[str, ...] = ()
    """symbols whose whole books were asked for: each comes behind all frames that it holds"""


@dataclass(frozen=True)
class Resource:
    """What a REST request asks for."""

    kind: str
    """`book`, `instruments`, `address`, or the venue's own word"""
    symbol: str = ""
    levels: int = 0
    weight: int = 1


@dataclass(frozen=True)
class Listing:
    """One ticker with its steps, as decimals after the point."""

    ticker: str
    price_decimals: int
    qty_decimals: int
    contract_size: str = ""
    """decimal text; empty: unknown, or quantities are coins"""

    @property
    def tick(self) -> str:
        """Decimal text of the price step."""
        return step(self.price_decimals)

    @property
    def lot(self) -> str:
        """Decimal text of the quantity step."""
        return step(self.qty_decimals)


class Binary(bytes):
    """A frame that is no text: it is sent as a binary one."""


class BadRequest(Exception):
    """A REST request that the venue answers with its error object."""

    def __init__(self, body: bytes, status: int = 400) -> None:
        super().__init__(body)
        self.body = body
        self.status = status


class Dialect(ABC):
    """One exchange's protocol, as its documents describe it."""

    exchange: ClassVar[Exchange]
    hosts: ClassVar[frozenset[str]]
    paths: ClassVar[tuple[str, ...]] = ()
    """beginnings of WebSocket and REST paths that no other venue has, or only together with what
    `owns` looks at: they tell a recording of this very venue, which names 127.0.0.1"""
    path_decides: ClassVar[bool] = False
    """markets of one exchange share the hosts: only the path tells which one it is"""
    routes: ClassVar[tuple[str, ...]]
    """WebSocket paths; the first one also carries what belongs to none"""
    feeds: ClassVar[Mapping[str, str]]
    """family -> our feeds, with blanks between them; other families are played, and are no feed.
    Of several families that carry one feed the first counts"""
    index_families: ClassVar[frozenset[str]] = frozenset()
    """families whose symbols are no tickers: indexes"""
    book_family: ClassVar[str]
    books: ClassVar[Books]
    book_is_answer: ClassVar[bool] = False
    """a pushed book is itself the answer to its subscription"""
    books_are_asked_for: ClassVar[bool] = False
    """a pushed book does not come by itself but upon a request (`Reply.books`)"""
    is_gzip: ClassVar[bool] = False
    """its frames are packed, and binary"""
    depth: ClassVar[int] = 0
    """levels a side of its books; 0: all"""
    drops_silently: ClassVar[bool] = False
    """a level that falls out of the depth is not said to be gone"""
    keeps_zeros: ClassVar[bool] = False
    """numbers have all decimals of their step"""
    ids_are_shared: ClassVar[bool] = False
    """updates of all symbols are numbered in one series"""
    counts_updates: ClassVar[bool] = False
    """an update's number is the last one of its ticker + 1"""
    one_action: ClassVar[bool] = False
    """a book update only deletes levels, or only changes their sizes, or only adds some"""
    one_level: ClassVar[bool] = False
    """a book update is one level; updates are counted (`counts_updates`)"""
    quotes_tell_day: ClassVar[bool] = False
    """a frame of quotes has the 24 h statistics, too"""
    marks_tell_day: ClassVar[bool] = False
    """a frame of marks and funding has them"""
    contract_size: ClassVar[str] = ""
    """what a contract of the synthetic market is worth; empty: quantities are coins"""
    id_keys: ClassVar[tuple[str, ...]] = ()
    """keys by which its events are told apart: the report of a fault names those of a frame"""
    demo: ClassVar[tuple[str, ...]] = ("BTCDEMO", "ETHDEMO", "SOLDEMO")
    weight_header: ClassVar[str] = ""
    ping_interval_s: ClassVar[float] = 20.0
    pong_deadline_s: ClassVar[float] = 60.0
    idle_s: ClassVar[float] = float("inf")
    """a client that says nothing for so long is cut off"""
    messages_per_s: ClassVar[float] = float("inf")
    """a client that sends more in a second, pings included, is cut off"""
    streams_max: ClassVar[int] = 2**31
    """subscriptions of a connection"""
    heartbeat_s: ClassVar[float] = 0.0
    """between `heartbeat` frames; 0: none"""

    # ---------------------------------------------------------- connections

    def owns(self, path: str, query: Mapping[str, list[str]]) -> bool:
        """Whether a recorded URL's path is this market's and no other one's."""
        return bool(self.paths) and path.startswith(self.paths)

    def open(self, path: str, query: Mapping[str, list[str]]) -> Line | Refusal:
        """The connection that a request for `path` opens."""
        route = next((one for one in self.routes if path.rstrip("/") == one), None)
        if route is None:
            return Refusal(f"no such path: use {', '.join(self.routes)}")
        return Line(route)

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        """Frames that greet a new connection."""
        return ()

    @abstractmethod
    def request(self, line: Line, text: bytes) -> Reply:
        """Carry out one request: change `line.streams`, answer as the venue words it."""

    def refuses(self, answer: bytes) -> bool:
        """Whether an answer to a request says that it is wrong."""
        return b"error" in answer.lower()

    def topics(self, line: Line) -> frozenset[Topic]:
        """What a connection receives: a stream of another route stays silent."""
        return frozenset(
            topic for topic in line.streams.values() if self.route_of(topic.family) == line.route
        )

    def route_of(self, family: str) -> str:
        """The WebSocket path on which the venue sends this family."""
        return self.routes[0]

    def heartbeat(self, line: Line) -> bytes:
        """What is sent each `heartbeat_s`."""
        return b""

    # --------------------------------------------------------------- frames

    @abstractmethod
    def topic_of(self, text: bytes) -> Topic | None:
        """Whose a frame is; CONTROL for what is no data; None when it does not tell."""

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        """A frame as this connection gets it, in its order; also asked of one that gets lost.

        Answers, heartbeats and greetings do not come here: they have the line at hand.
        """
        return text

    @abstractmethod
    def read_book(self, text: bytes) -> BookEvent | None:
        """What a frame of `book_family` does to a book; None when it is damaged."""

    def read_body(self, text: bytes) -> BookEvent | None:
        """The book in a REST body; None for an error object."""
        return None

    def identity(self, text: bytes) -> dict[str, Any]:
        """The ids of a frame, as far as it has them: of its first event."""
        try:
            parsed = parse(text)
            data = parsed.get("data", parsed)
            data = data[0] if isinstance(data, list) and data else data
            return {key: one[key] for one in (parsed, data) for key in self.id_keys if key in one}
        except (msgspec.MsgspecError, AttributeError, TypeError):
            return {}

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        """The frame of a whole book."""
        raise NotImplementedError

    def holds(self, book: NaiveBook, event: BookEvent) -> bool:
        """Whether a book is what the venue says by its checksum."""
        return True

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        """What a REST request asks for; None: no such path. BadRequest: a wrong request."""
        return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        """The REST answer that holds a book."""
        raise NotImplementedError

    @abstractmethod
    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        """The instrument list, all tickers trading."""

    def own_answer(self, resource: Resource, now_ms: int) -> bytes | None:
        """What the venue knows whatever is played, such as its clock; None: ask the recording."""
        return None

    def write_address(self, ws_url: str) -> bytes:
        """The answer to a `Resource("address")`: where the WebSocket is that a client must ask for.

        `ws_url`: this venue's, without a path.
        """
        raise NotImplementedError

    def no_book(self) -> BadRequest:
        """The answer where there is no book to give."""
        return BadRequest(b'{"error":"no book"}', 503)

    def no_symbol(self) -> BadRequest:
        """The answer to a request for a book of a symbol that is not listed."""
        return BadRequest(b'{"error":"no such symbol"}')

    def no_path(self) -> BadRequest:
        """The answer to a request for what the venue does not have."""
        return BadRequest(b'{"error":"no such path"}', 404)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        """The frame of a trade."""
        raise NotImplementedError

    def change(self, event: Change) -> bytes:
        """The frame of a book update, or of the whole book."""
        raise NotImplementedError

    def quote(self, event: Quote) -> bytes:
        """The frame of the best quotes; empty: the venue has none."""
        return b""

    def statistics(self, event: Statistics) -> bytes:
        """The frame of 24 h statistics; empty: the venue has none."""
        return b""

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """(family, frame) of marks, funding and open interest."""
        return ()

    def liquidation(self, event: Liquidation) -> bytes:
        """The frame of a liquidation; empty: the venue does not publish them."""
        return b""

    def polled(self, kind: str, event: Derivative) -> bytes | None:
        """The answer to a REST request of this kind; None: there is none."""
        return None

    def family_of(self, feed: str) -> str:
        """The family that carries a feed; "" where none does."""
        return next((f for f, feeds in self.feeds.items() if feed in feeds.split()), "")

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """The market's instrument of a ticker, as this venue would list it."""
        return listed


def step(decimals: int) -> str:
    """Decimal text of one unit of the last decimal."""
    return "1" if decimals == 0 else f"0.{'0' * (decimals - 1)}1"


def split_url(url: str) -> tuple[str, str, dict[str, list[str]]]:
    """Host, path and query of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.path, parse_qs(parts.query)


def compact(value: Any) -> bytes:
    """JSON without blanks."""
    return msgspec.json.encode(value)


def decoding(decode: Callable[[bytes], _T]) -> Callable[[bytes], _T]:
    """A decoder whose only error is msgspec's: recordings and clients send broken text, too."""

    def read(text: bytes) -> _T:
        try:
            return decode(text)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"not UTF-8: {error.reason}") from None
        except RecursionError:
            raise msgspec.DecodeError("too deep") from None

    return read


parse = decoding(msgspec.json.decode)
"""Any JSON as plain values; msgspec.DecodeError for what is none."""


def count(text: str, default: int) -> int:
    """The number of levels that a URL asks for; `default` where it names none. Errors: ValueError.

    Zero and less is no number of levels.
    """
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9 and int(text)):
        raise ValueError(f"no number of levels: {text[:20]}")
    return int(text)
