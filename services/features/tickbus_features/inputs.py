"""What the kernels read of a group: the columns of one ticker's feeds, gaps and clocks."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus.log.stored import Rejected
from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, BboBatch, L2Batch, Status, StatusKind, TradeBatch

from tickbus_features.layout import (
    BOOK,
    QUOTES,
    TRADES,
    Clocks,
    FeedMessages,
    Losses,
    Messages,
    Packets,
    Quotes,
    Trades,
)

Ticker = tuple[int, str]
"""exchange code and ticker"""

_FEEDS = {"trade": TRADES, "bbo": QUOTES, "l2": BOOK}
_ALL = TRADES | QUOTES | BOOK
_DTYPES = {"side": "<i1", "flags": "<u2", "levels": "<i4", "price": "<f8", "qty": "<f8"}


def _none(of: type[Any]) -> Any:
    """The columns of a feed without rows, of the very types that its rows have."""
    names: tuple[str, ...] = of._fields
    return of(
        *(
            np.zeros(0, "<f8" if name[:4] in ("bid_", "ask_") else _DTYPES.get(name, "<i8"))
            for name in names
        )
    )


NO_MESSAGES: Messages = _none(Messages)
NO_LOSSES: Losses = _none(Losses)
NO_PACKETS: Packets = _none(Packets)
NO_QUOTES: Quotes = _none(Quotes)
NO_TRADES: Trades = _none(Trades)
NO_CLOCKS: Clocks = _none(Clocks)


class Inputs(NamedTuple):
    """Everything of one ticker in a group."""

    messages: FeedMessages
    losses: Losses
    packets: Packets
    quotes: Quotes
    trades: Trades

    @property
    def levels(self) -> int:
        """Level rows of the book."""
        return len(self.packets.side)

    @property
    def rows(self) -> int:
        """Events of all feeds."""
        columns = (self.losses, self.packets, self.quotes, self.trades)
        return sum(len(feed.packet_id) for feed in columns)


def _columns(of: type[Any], table: Table | None, none: Any) -> Any:
    return none if table is None else of(*map(table.columns.__getitem__, of._fields))


def _messages(table: Table | None) -> Messages:
    if table is None:
        return NO_MESSAGES
    return Messages(table.message_seq, table.message_rows, table.message_more)


def _feeds_lost(status: Status) -> int:
    if status.kind != StatusKind.GAP:
        return 0
    return _FEEDS.get(status.feed, 0 if status.feed else _ALL)


def _feeds_found(status: Status) -> int:
    """Once a line delivers again, silence means that there was no trade."""
    if status.kind == StatusKind.CONNECTED and status.feed in ("", "trade"):
        return TRADES
    return 0


def losses_of(statuses: list[Status]) -> Losses:
    """What status messages say about gaps."""
    columns = np.array(
        [
            (one.packet_id, one.from_timestamp, _feeds_lost(one), _feeds_found(one))
            for one in statuses
        ],
        np.int64,
    ).reshape(-1, 4)
    return Losses(*np.ascontiguousarray(columns.T))


def tickers_of(group: Group) -> set[Ticker]:
    """Those that have events in the group."""
    found = {(key[1], key[2]) for key in group.tables}
    return found | {(one.exchange, one.ticker) for _, one in group.statuses}


def inputs_of(group: Group, ticker: Ticker, statuses: list[tuple[int, Status]]) -> Inputs:
    """Columns of a ticker's feeds; statuses: its own, with their stream sequences."""
    exchange, name = ticker
    l2, bbo, trade = (
        group.tables.get((kind, exchange, name)) for kind in (L2Batch, BboBatch, TradeBatch)
    )
    status, losses = NO_MESSAGES, NO_LOSSES
    if statuses:
        status = Messages(
            np.array([seq for seq, _ in statuses]),
            np.ones(len(statuses), np.int64),
            np.array([one.more for _, one in statuses]),
        )
        losses = losses_of([one for _, one in statuses])
    return Inputs(
        messages=(status, _messages(l2), _messages(bbo), _messages(trade)),
        losses=losses,
        packets=_columns(Packets, l2, NO_PACKETS),
        quotes=_columns(Quotes, bbo, NO_QUOTES),
        trades=_columns(Trades, trade, NO_TRADES),
    )


def clocks_of(group: Group) -> Clocks:
    """The clocks of a group, and with an absent time the places where messages are missing."""
    holes = [one.last_seq for one in group.missing]
    if not (group.clocks or holes):
        return NO_CLOCKS
    rows = [(seq, one.timestamp, one.epoch) for seq, one in group.clocks]
    rows += [(seq, ABSENT, ABSENT) for seq in holes]
    return Clocks(*np.ascontiguousarray(np.array(sorted(rows), np.int64).T))


def statuses_by_ticker(group: Group) -> dict[Ticker, list[tuple[int, Status]]]:
    """Status messages of each ticker in log order; a message that was refused is a gap too."""
    found = [*group.statuses, *filter(None, map(_gap_of_refused, group.rejected))]
    by_ticker: dict[Ticker, list[tuple[int, Status]]] = {}
    for seq, status in sorted(found, key=itemgetter(0)):
        by_ticker.setdefault((status.exchange, status.ticker), []).append((seq, status))
    return by_ticker


def _gap_of_refused(refused: Rejected) -> tuple[int, Status] | None:
    """What a message that nobody could read takes away from its ticker, by its subject."""
    try:
        address = subjects.parse(refused.subject)
    except Reject:
        return None  # of no ticker
    if address.kind != "md":
        return None
    return refused.seq, Status(
        exchange=int(address.exchange),
        ticker=address.ticker,
        epoch=0,
        message_no=0,
        timestamp=ABSENT,
        rcv_timestamp=ABSENT,
        packet_id=ABSENT,
        kind=int(StatusKind.GAP),
        feed=address.leaf,
    )
