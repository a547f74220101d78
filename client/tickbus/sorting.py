"""Puts the messages of one group into its tables and lists, and the bad ones aside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    SCHEMA,
    BookBatch,
    Clock,
    DeadLetter,
    FeatureBatch,
    Fence,
    Header,
    Message,
    Status,
)

from tickbus.stack import Stack, Unsound
from tickbus.stored import Rejected, Stored, Traced, header
from tickbus.table import Key, Table

if TYPE_CHECKING:
    from tickbus.group import Group

_Kind: TypeAlias = tuple[type[Header], Hashable]


class Sorting:
    """Puts the messages of one group into its tables and lists."""

    def __init__(
        self,
        group: Group,
        stored: list[Stored],
        messages: list[Message | None],
        reasons: dict[int, str],
    ) -> None:
        self.group = group
        self.stored = stored
        self.messages = messages
        self.reasons = reasons

    def run(self) -> None:
        by_subject: defaultdict[str, list[int]] = defaultdict(list)
        for place, subject in enumerate(map(_subject_of, self.stored)):
            by_subject[subject].append(place)
        by_kind: defaultdict[_Kind, dict[codec.Home, list[int]]] = defaultdict(dict)
        for subject, places in by_subject.items():
            home = self._home(subject, places)
            if home is None:
                continue
            agreeing = self._agreeing(home, places)
            if not agreeing:
                continue
            if not home.kind.columns:
                self._singles(home.kind, agreeing)
                continue
            for shape, alike in self._shapes(home.kind, agreeing).items():
                by_kind[home.kind, shape].setdefault(home, []).extend(alike)
        for (kind, shape), homes in by_kind.items():
            self._tables(kind, shape, homes)
        for place, block in enumerate(map(_headers_of, self.stored)):
            if block is not None and b"traceparent" in block and self.messages[place] is not None:
                self._trace(place)
        self._collect_rejected()

    def _home(self, subject: str, places: list[int]) -> codec.Home | None:
        """What messages of a subject must be; None, and all refused, for a foreign subject."""
        try:
            return codec.home(subject)
        except Reject as why:
            for place in places:
                self.reasons.setdefault(self.stored[place].seq, str(why))
                self.messages[place] = None
            return None

    def _agreeing(self, home: codec.Home, places: list[int]) -> list[int]:
        """Places whose message is readable and is what its subject says."""
        messages = [self.messages[place] for place in places]
        if set(map(type, messages)) == {home.kind} and (
            home.ticker is None
            or (
                set(map(_common_of, messages)) == {(SCHEMA, home.exchange, home.ticker)}
                and (
                    home.interval_ms is None
                    or set(map(_interval_of, messages)) == {home.interval_ms}
                )
            )
        ):
            return places
        return [place for place in places if self._is_sound(place, values=False)]

    def _is_sound(self, place: int, *, values: bool) -> bool:
        """Check one message by itself; a bad one is left out of the group, with the reason."""
        stored = self.stored[place]
        if self.messages[place] is None:
            return False
        try:
            codec.decode(stored.data, stored.subject, values=values)
        except Reject as why:
            self.reasons[stored.seq] = str(why)
            self.messages[place] = None
            return False
        return True

    def _singles(self, kind: type[Header], places: list[int]) -> None:
        """Messages without columns: they are few, each is checked by itself."""
        into: dict[type[Header], list[Any]] = {
            Status: self.group.statuses,
            Clock: self.group.clocks,
            Fence: self.group.fences,
            DeadLetter: self.group.dead_letters,
        }
        for place in places:
            if self._is_sound(place, values=True):
                into[kind].append((self.stored[place].seq, self.messages[place]))

    def _shapes(self, kind: type[Header], places: list[int]) -> dict[Hashable, list[int]]:
        """Places by what must be alike within a table besides the subject."""
        if kind is BookBatch:
            shape_of: Any = attrgetter("depth")
        elif kind is FeatureBatch:
            shape_of = _feature_shape
        else:
            return {None: places}
        shapes: defaultdict[Hashable, list[int]] = defaultdict(list)
        for place in places:
            shapes[shape_of(self.messages[place])].append(place)
        return shapes

    def _tables(
        self, kind: type[Header], shape: Hashable, homes: dict[codec.Home, list[int]]
    ) -> None:
        """One table a subject, cut from one stack of the kind; bad messages are left out."""
        stack = self._stack(kind, [place for places in homes.values() for place in places])
        while stack is None:
            homes = {home: self._left(places) for home, places in homes.items()}
            homes = {home: places for home, places in homes.items() if places}
            if not homes:
                return
            stack = self._stack(kind, [place for places in homes.values() for place in places])
        first = 0
        for home, places in homes.items():
            last = first + len(places)
            self._add_table(home, shape, stack, places, first, last)
            first = last

    def _left(self, places: list[int]) -> list[int]:
        return [place for place in places if self.messages[place] is not None]

    def _add_table(
        self,
        home: codec.Home,
        shape: Hashable,
        stack: Stack,
        places: list[int],
        first: int,
        last: int,
    ) -> None:
        columns, features = stack.part(first, last)
        exchange, ticker = cast(int, home.exchange), cast(str, home.ticker)
        key: Key = (home.kind, exchange, ticker)
        if home.interval_ms is not None:
            key = (home.kind, exchange, ticker, home.interval_ms, shape)
        self.group.tables[key] = Table(
            kind=home.kind,
            exchange=exchange,
            ticker=ticker,
            columns=columns,
            message_seq=self.group.seqs[places],
            message_rows=stack.message_rows[first:last],
            message_levels=stack.message_levels[first:last],
            message_more=stack.message_more[first:last],
            interval_ms=home.interval_ms or 0,
            depth=stack.depth,
            catalogue=stack.catalogue,
            features=features,
        )

    def _stack(self, kind: type[Header], places: list[int]) -> Stack | None:
        """The messages joined; None after marking those that must be left out."""
        messages = [cast(Header, self.messages[place]) for place in places]
        try:
            stack = Stack(kind, messages)
        except Unsound:
            left = [place for place in places if self._is_sound(place, values=False)]
            if len(left) == len(places):
                raise AssertionError("Stack and codec.decode disagree about the layout") from None
            return None
        if not stack.bad.any():
            return stack
        for at in np.flatnonzero(stack.bad).tolist():
            if self._is_sound(places[at], values=True):
                raise AssertionError("Stack and codec.decode disagree about the values")
        return None

    def _trace(self, place: int) -> None:
        stored, message = self.stored[place], cast(Header, self.messages[place])
        traceparent = header(stored.headers, "traceparent")
        if traceparent is None:
            return
        packets = getattr(message, "packet_id", -1)
        if isinstance(packets, bytes):
            packets = int.from_bytes(packets[-8:], "little", signed=True) if packets else -1
        self.group.traced.append(
            Traced(
                stored.seq, stored.stored_ns, traceparent, type(message), message.ticker, packets
            )
        )

    def _collect_rejected(self) -> None:
        if not self.reasons:
            return
        self.group.rejected = [
            Rejected(one.seq, one.stored_ns, one.subject, self.reasons[one.seq], one.data)
            for one in self.stored
            if one.seq in self.reasons
        ]


def _feature_shape(message: FeatureBatch) -> Hashable:
    return (message.catalogue, tuple(message.names))


_subject_of = attrgetter("subject")
_headers_of = attrgetter("headers")
_common_of = attrgetter("schema", "exchange", "ticker")
_interval_of = attrgetter("interval_ms")
