"""What a venue's file says of itself: the whole contract between one exchange and ingest.

A venue module defines one class named `Venue`. It is found by its name, which is the exchange's
token. It is data and pure functions: it holds no socket and no clock, and what it counts per
connection stands in the `Line` that it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import msgspec
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.venue.instruments import Instrument, Unread

if TYPE_CHECKING:
    from tickbus_ingest.venue.rows import Rows

T = TypeVar("T")


class Meant(Enum):
    """A choice of a venue's file, with its meaning in words: `tickbus venues` shows them."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """A member whose value is its name in texts."""
        member = object.__new__(cls)
        member._value_ = value
        member.meaning = " ".join(meaning.split())
        return member


class Evidence(Meant):
    """What proves that a venue's file is right: its status word, the strongest first.

    All go to Parquet in the tests, in their own protocol against the simulated venue, with every
    kind of fault. A test compares the word with the recordings that captures.json names.
    """

    WORKS = (
        "works",
        "a recording of at least 500 book events gives right rows, the right best levels after "
        "each event or every 100 ms, and the right whole book at the end",
    )
    CHECKED = "checked", "recorded frames give right rows"
    BETA = "beta", "frames were written after the venue's documents; none was recorded"

    def reaches(self, other: Evidence) -> bool:
        """Whether this is at least as strong as `other`."""
        order = list(Evidence)
        return order.index(self) <= order.index(other)


class Snapshots(Meant):
    """How a full book comes."""

    PULLED = "pulled", "over REST, joined to the updates that wait"
    """`snapshot_request`, `parse_snapshot`"""
    PUSHED = "pushed", "over the WebSocket, asked for again by another subscription"
    """As the first message of a subscription, in answer to a request that `subscribe` sends behind
    it, or whenever the venue likes. Updates that came before the book and follow it are kept. A
    venue that defines `snapshot_request` too is asked for one over REST where no pushed one
    comes."""
    EVERY_FRAME = "every frame", "each message is a whole book"
    NONE = "none", "the venue has no books"


class UpdateIds(Meant):
    """What a book update says of the one before it."""

    LINKED = "linked", "an update names the one that it follows"
    COUNTED = "counted", "an update's number is the last one of the ticker + 1"
    PER_CONNECTION = "per connection", "messages are counted over the whole connection"
    """`read` calls `rows.lost` at a hole."""
    KEYED = (
        "keyed",
        "no number, but each level has an id: one that is not known, or known already, proves a "
        "loss; a lost change of a size alone is not found",
    )
    """`read` calls `rows.lost` with the ticker."""
    CHECKSUM = "checksum", "no number; a checksum of the book tells whether it is right"
    """`checksum` computes it."""
    NONE = "none", "updates say nothing of each other, so each message must be a whole book"


class TradeIds(Meant):
    """What the identity of a trade proves."""

    DENSE = "dense", "ids count by one for each ticker: a hole is a loss"
    SEQUENCED = "sequenced", "a number that counts by one stands beside the id: a hole is a loss"
    UNIQUE = "unique", "an id is never used twice, and says nothing else"
    NONE = "none", "trades have no id"


class What(Enum):
    """What a limit is about; the unit of its number stands beside it."""

    ATTEMPTS = "connection attempts"
    """of one address: connections opened within `per_s`"""
    CONNECTIONS = "connections"
    """open at once"""
    STREAMS = "streams a connection"
    MESSAGES = "messages a connection"
    """client frames within `per_s`"""
    SUBSCRIPTIONS = "subscription requests a connection"
    """within `per_s`"""
    ARGUMENTS = "arguments a frame"
    FRAME_BYTES = "bytes a frame"
    """of a client frame"""
    WEIGHT = "request weight"
    """REST units within `per_s`"""


class OnError(Enum):
    """What follows from an error of the venue."""

    RETRY = "retry"
    """it passes: what was asked for is asked for again, later each time"""
    RESYNC = "resync"
    """the connection is worth nothing any more: another one takes its place"""
    REJECT = "reject"
    """the request is wrong: the stream that the error names is not asked for again"""
    FATAL = "fatal"
    """no request can succeed from here: not one of this kind is sent again"""


class Limit(msgspec.Struct, frozen=True):
    """At most `n` of something; `per_s`: within so many seconds, 0 where it is no rate."""

    what: What
    n: int
    per_s: float = 0.0


class Units(msgspec.Struct, frozen=True):
    """What a venue's quantities count, in words. They are published as they come."""

    qty: str
    """what one unit of `qty` is"""
    turnover: str
    """the unit of a ticker's `turnover`; why there is none"""
    of: str = ""
    """the instruments that this is said of, where the venue has several kinds"""


BASE, QUOTE = "base currency", "quote currency"
BASE_SUMMED = "absent: the venue sums the base currency"
PLAIN = (Units(BASE, QUOTE),)
"""Of most spot markets."""


class Keepalive(msgspec.Struct, frozen=True):
    """What the client sends so that the venue does not hang up: `frame` each `every_s`.

    `as_ping`: a WebSocket ping instead of a text frame.
    """

    frame: bytes
    every_s: float
    as_ping: bool = False


class Levels(msgspec.Struct, frozen=True):
    """How a venue writes price levels in JSON.

    Arrays: where price and size stand (`["1.5", "2", ...]` is 0 and 1; `["new", 1.5, 2]` is 1 and
    2). Objects: the keys of both (`{"px": "1.5", "sz": "2"}`).

    `side`: the key under which each object names its side, where both sides stand in one list:
    `rows.l2` gets that list as `bids`, in any order, and `asks` empty. `bid`, `ask`: what a side is
    called; an update with any other word is refused.

    `count`: where arrays have the number of orders. Then both sides stand in one list as above, a
    size above 0 is a bid's and one below 0 an ask's, and a count of 0 removes the level.
    """

    price: int | str = 0
    size: int | str = 1
    side: str = ""
    bid: str = "bid"
    ask: str = "offer"
    count: int = -1


PAIRS = Levels()


class BookForm(msgspec.Struct, frozen=True):
    """What a subscription's book is like: it comes with a whole book and holds until the next."""

    depth: int = 0
    """levels a side; what lies deeper falls out without a word. 0: nothing falls out"""
    price_decimals: int = ABSENT
    """of the wire's text, where a checksum is made of it"""
    qty_decimals: int = ABSENT


class Compression(Enum):
    """What a frame's bytes are packed in."""

    NONE = "none"
    GZIP = "gzip"
    DEFLATE = "deflate"


class Get(msgspec.Struct, frozen=True):
    """A REST request: path below the REST address, weight in the venue's budget."""

    path: str
    weight: int = 1
    book_of: str = ""
    """the ticker whose book the body is; everything else that is asked for has none"""
    host: int = 0
    """index into `Venue.rest_urls`"""
    body: bytes = b""
    """not empty: a POST"""


class Poll(msgspec.Struct, frozen=True):
    """A REST body that is asked for again and again, because no channel carries it."""

    get: Get
    every_s: float


class Stream(msgspec.Struct, frozen=True):
    """One subscription: the venue's name for it, whose it is, and which feeds it carries."""

    name: str
    ticker: str
    """"" for a stream of the whole market"""
    feeds: tuple[str, ...]


class Route(msgspec.Struct, frozen=True):
    """What shares a connection: streams, and the path below a WebSocket address."""

    path: str
    streams: tuple[Stream, ...]
    host: int = 0
    """index into `Venue.websocket_urls`"""
    address: Get | None = None
    """where the URL must be asked for before each connection; `Venue.address` reads the answer"""


class Request(msgspec.Struct, frozen=True):
    """A frame to send, and how many answers the venue gives to it."""

    frame: bytes
    answers: int = 1


BEHIND_MAX_US = 1_000_000
"""Of two lines that carry the same, one may be so far behind the other."""


@dataclass(slots=True, eq=False)
class Line:
    """One open connection of a route: N lines may carry the same one.

    `memory` is the venue's own: whatever it counts per connection, emptied by `connected`. Its
    values are replaced and never changed in place: after a refused frame the old ones come back.
    """

    number: int
    """place of the line among all that are held; stands in status rows and recordings"""
    route: Route
    memory: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    """`<route>.<place>`: stays the same when the connection is opened anew"""


class Venue(ABC):
    """One exchange's market. Each property stands with its source beside it in the venue's file."""

    exchange: ClassVar[Exchange]
    evidence: ClassVar[Evidence] = Evidence.BETA
    docs: ClassVar[tuple[str, ...]]
    websocket_urls: ClassVar[tuple[str, ...]]
    rest_urls: ClassVar[tuple[str, ...]]
    feeds: ClassVar[tuple[str, ...]]
    """the feeds that the venue has channels (or polls) for"""
    units: ClassVar[tuple[Units, ...]] = ()
    """never guessed: each venue says them"""
    examples: ClassVar[tuple[str, ...]] = ("*",)
    """tickers as the venue spells them, for the example of a settings file"""

    snapshots: ClassVar[Snapshots]
    update_ids: ClassVar[UpdateIds]
    trade_ids: ClassVar[TradeIds]
    numbering_is_global: ClassVar[bool] = True
    """two connections show the same numbers, so they may be merged update by update"""
    drops_equal: ClassVar[bool] = False
    """the first update after a snapshot that was asked for is dropped when it ends exactly at it"""
    crosses: ClassVar[bool] = False
    """an update may cross the book: the levels across it are older, and its packet removes them"""
    levels: ClassVar[Levels] = PAIRS
    compression: ClassVar[Compression] = Compression.NONE

    keepalive: ClassVar[Keepalive | None] = None
    connection_life_s: ClassVar[float] = float("inf")
    """a connection is replaced before it is this old"""
    maintenance_codes: ClassVar[frozenset[int]] = frozenset()
    """close codes that announce maintenance: reconnecting at once is no use"""
    silence_s: ClassVar[float] = 0.0
    """a connection may be silent for so long; 0: the setting's value"""
    limits: ClassVar[tuple[Limit, ...]]
    errors: ClassVar[Mapping[str, OnError]] = {}
    """what follows from each error that is known: by its code, or by words of its text where it has
    none. RETRY follows from all others"""
    weight_header: ClassVar[str] = ""
    """header of an HTTP answer that tells the weight used in the running window"""
    weight_left_header: ClassVar[str] = ""
    """or the weight that is left in it"""

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        """Fatal for a feed that the venue does not have."""
        missing = [feed for feed in feeds if feed not in self.feeds]
        if missing:
            raise Fatal(
                f"ingest.feeds: {self.exchange.token} has no {' and no '.join(missing)}: "
                f"choose among {', '.join(self.feeds)}"
            )
        self.instruments = {one.ticker: one for one in instruments}
        self.tickers = list(self.instruments)
        self.wanted = tuple(feeds)
        self.index = {ticker: n for n, ticker in enumerate(self.tickers)}

    def extend(self, instruments: Sequence[Instrument]) -> None:
        """Take these tickers, too: each stands behind the ones that are known."""
        type(self).__init__(self, [*self.instruments.values(), *instruments], self.wanted)

    # ---------------------------------------------------------- instruments

    @classmethod
    @abstractmethod
    def instruments_requests(cls) -> list[Get]:
        """Where the list of instruments is; several bodies where the venue splits it."""

    @classmethod
    def more_instruments_requests(cls, get: Get, body: bytes) -> list[Get]:
        """What must be asked for besides because of one body: its next page, each family in it.

        Reject for a body that does not answer `get`.
        """
        return []

    @classmethod
    @abstractmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> Sequence[Instrument | Unread]:
        """The instruments in the bodies, which come as they were asked for; Reject for others.

        `each_of` reads rows so that an odd one hides none of the others.
        """

    # -------------------------------------------------------- subscriptions

    @abstractmethod
    def routes(self) -> list[Route]:
        """The connections that the wanted tickers and feeds need, with their streams.

        `split` spreads the streams of one path over connections that the limits allow.
        """

    def greet(self) -> list[Request]:
        """Frames that every connection sends before it subscribes, e.g. to have heartbeats."""
        return []

    @abstractmethod
    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Frames that subscribe to these streams; also sent when a silent one is asked for anew."""

    @abstractmethod
    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Frames that end these subscriptions."""

    def connected(self, line: Line) -> None:
        """A connection was opened: what was counted on the last one is forgotten."""
        line.memory.clear()

    def address(self, body: bytes) -> str:
        """The WebSocket URL in the answer to `Route.address`."""
        raise NotImplementedError

    # --------------------------------------------------------------- frames

    @abstractmethod
    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """Append what one frame holds to `rows`.

        Reject for what is not understood in full: then nothing of the frame is kept.
        """

    def snapshot_request(self, ticker: str, levels: int) -> Get | None:
        """Where the full book of a ticker is; `levels` 0: the most that the venue gives."""
        return None

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        """Append the book in a REST body as one `rows.l2(..., snapshot=True)`; else Reject."""
        raise NotImplementedError

    def polls(self) -> list[Poll]:
        """REST bodies that carry wanted feeds for which there is no channel."""
        return []

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        """Append what a polled body holds; Reject for what is not understood."""
        raise NotImplementedError

    def checksum(self, book: OrderBook, form: BookForm) -> int:
        """The checksum of a book as the venue computes it; compared with `rows.l2(checksum=)`.

        ABSENT where a book of doubles does not tell it.
        """
        raise NotImplementedError

    # ----------------------------------------------------------------- REST

    def hold_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        """How long an HTTP answer forbids all requests; None when it does not.

        The common reading: 429 and 418, with Retry-After in seconds.
        https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
        """
        return retry_after_s(headers) if status in (429, 418) else None

    def weight_used(self, headers: Mapping[str, str]) -> int | None:
        """The weight used in the running window, as an HTTP answer tells it; None: it does not."""
        used, left = (
            int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
            for text in (
                headers.get(self.weight_header, ""), headers.get(self.weight_left_header, "")
            )
        )  # fmt: skip
        return used if left is None else max(self.limit(What.WEIGHT) - left, 0)

    # --------------------------------------------------------------- common

    @classmethod
    def limit(cls, what: What, default: int = 2**31) -> int:
        """The number of one limit; `default` where the venue names none."""
        return min((one.n for one in cls.limits if one.what is what), default=default)

    @classmethod
    def on_error(cls, told: str) -> OnError:
        """What follows from an error: `told` is its code, or its text."""
        known = cls.errors.get(told)
        if known is not None:
            return known
        words = (
            one for text, one in cls.errors.items() if not text[-1].isdecimal() and text in told
        )
        return next(words, OnError.RETRY)

    def streams_by_channel(self, carried: Mapping[str, Sequence[str]]) -> list[Stream]:
        """A stream `<channel>:<ticker>` for each ticker and channel that carries a wanted feed.

        carried: channel -> the feeds that it carries.
        """
        return [
            Stream(f"{channel}:{ticker}", ticker, wanted)
            for ticker in self.tickers
            for channel, feeds in carried.items()
            if (wanted := tuple(feed for feed in feeds if feed in self.wanted))
        ]

    def tickers_by_channel(
        self, channels: Iterable[str], streams: Sequence[Stream], most: int = 0
    ) -> Iterator[tuple[str, Sequence[str]]]:
        """A channel and tickers of streams that are named as above: what one request asks for.

        most: tickers in a request; 0: as many as the limit of arguments allows.
        """
        most = most or self.limit(What.ARGUMENTS)
        for channel in channels:
            tickers = [one.ticker for one in streams if one.name.partition(":")[0] == channel]
            for part in in_parts(tickers, most):
                yield channel, part

    def split(self, path: str, streams: Sequence[Stream], host: int = 0) -> list[Route]:
        """Routes of one path, each with as many streams as a connection may carry."""
        parts = in_parts(streams, self.limit(What.STREAMS))
        return [Route(path, tuple(part), host) for part in parts]


def in_parts(values: Sequence[T], most: int) -> list[Sequence[T]]:
    """The values in their order, at most so many in a part."""
    return [values[n : n + most] for n in range(0, len(values), most)]


HELD_AFTER_BAN_S = 60.0
"""When a venue refuses requests without saying for how long."""
HELD_MAX_S = 3600.0
"""A longer time is not believed."""


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds in the header Retry-After, at most HELD_MAX_S."""
    try:
        seconds = float(headers.get("Retry-After", HELD_AFTER_BAN_S))
    except ValueError:
        return HELD_AFTER_BAN_S
    return min(max(seconds, 0.0), HELD_MAX_S) if seconds == seconds else HELD_AFTER_BAN_S
