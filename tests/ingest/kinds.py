"""Kinds of venues, each as some real venue is, and a book of theirs."""

from __future__ import annotations

from tickbus_ingest.session.book_rules import State
from tickbus_ingest.venue.contract import Snapshots, UpdateIds
from tickbus_schemas.messages import L2Flag

from tests.ingest.made import Levels, book, frame, frames, made, update
from tests.ingest.venues.playing import Player

WHOLE = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
BIDS: Levels = [(100, 1), (99, 2)]
ASKS: Levels = [(101, 3)]

LINKED = made(Snapshots.PUSHED, UpdateIds.LINKED)  # OKX
COUNTED = made(Snapshots.PUSHED, UpdateIds.COUNTED)  # Bybit
COUNTED_ALONE = made(Snapshots.PUSHED, UpdateIds.COUNTED, numbering_is_global=False)
WHOLE_FRAMES = made(Snapshots.EVERY_FRAME, UpdateIds.NONE, numbering_is_global=False)  # Hyperliquid
CHECKED = made(Snapshots.PUSHED, UpdateIds.CHECKSUM, numbering_is_global=False, depth=2)  # Kraken
PER_CONNECTION = made(
    Snapshots.PUSHED, UpdateIds.PER_CONNECTION, numbering_is_global=False
)  # Coinbase
CROSSING = made(
    Snapshots.PUSHED, UpdateIds.PER_CONNECTION, numbering_is_global=False, crosses=True
)  # dYdX
KEYED = made(Snapshots.PUSHED, UpdateIds.KEYED, numbering_is_global=False)  # BitMEX
BOTH_WAYS = made(Snapshots.PUSHED, UpdateIds.LINKED, pulls=True)  # OKX without first snapshots
PULLED = made(Snapshots.PULLED, UpdateIds.LINKED)  # Binance


def flags(player: Player) -> list[int]:
    return [row["flags"] for row in player.published.get("l2", ())]


def state(player: Player) -> State:
    return player.session.books[0].state


def last_levels(player: Player) -> list[tuple[float, float, int]]:
    """(price, qty, action) of the last packet."""
    return [(price, qty, action) for _, price, qty, action in player.published["l2"][-1]["levels"]]


def begin(player: Player, own: int, ms: int = 1) -> None:
    """The book is LIVE at `own + 1`, however it comes."""
    if type(player.venue).snapshots is Snapshots.PUSHED:
        player.say(frames(book(own, ms, BIDS), update(own, own + 1, ms + 1)))
        return
    player.say(frames(update(own - 1, own, ms), update(own, own + 1, ms + 1)))
    player.pull(frame(book(own, ms, BIDS)))
