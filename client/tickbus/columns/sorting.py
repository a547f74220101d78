"""Sorts the messages of one group into its tables and lists; bad messages become rejects."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import pairwise
from operator import attrgetter
from typing import cast

import numpy as np
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import BookBatch, FeatureBatch, Header

from tickbus.columns.group import Group
from tickbus.columns.homes import Homes
from tickbus.columns.joined import Int64s, Joined
from tickbus.columns.kernels.message import SIZE, START, arrange
from tickbus.columns.rules import EXCHANGE, FIELDS, INTERVAL, KINDS, TICKER
from tickbus.columns.scanned import Scanned
from tickbus.columns.table import Key, Table
from tickbus.log.stored import Rejected, Traced, header

_ADDRESS = np.array((EXCHANGE, TICKER, INTERVAL), np.int64)


class Sorting:
    """Puts the messages of one group into its tables and lists."""

    def __init__(self, group: Group, scanned: Scanned, homes: Homes) -> None:
        self._group = group
        self._scanned = scanned
        self._homes = homes
        subjects = map(_subject_of, scanned.stored)
        count = len(scanned.stored)
        self._home_of: Int64s = np.fromiter(map(homes.__getitem__, subjects), np.int64, count)

    def run(self) -> None:
        """Fill the group."""
        scanned, homes = self._scanned, self._homes
        # By kind and subject, in log order within each: a table is then one run of rows.
        places, tag_ends, strays = arrange(
            scanned.data, scanned.found, self._home_of, homes.wanted, homes.tickers, _ADDRESS
        )
        for place in strays.tolist():
            scanned.refuse(place, homes.of[self._home_of[place]].reason)
        first = 0
        for tag, last in enumerate(tag_ends.tolist()):
            if last > first:
                kind = KINDS[tag]
                if kind.columns:
                    self._tables(kind, places[first:last])
                else:
                    self._singles(kind, np.sort(places[first:last]))
                first = last
        self._collect_traced()
        self._collect_rejected()

    def _singles(self, kind: type[Header], places: Int64s) -> None:
        """Messages without columns: they are few, each is decoded by itself."""
        read = []
        for place in places.tolist():
            stored = self._scanned.stored[place]
            try:
                read.append((stored.seq, codec.decode(stored.data)))  # it agrees with its subject
            except Reject as why:
                self._scanned.refuse(place, str(why))
        if read:
            self._group.singles[kind] = read

    def _tables(self, kind: type[Header], places: Int64s) -> None:
        """One table a subject (and shape), cut from joined columns; bad messages are left out."""
        for shape, alike in self._shapes(kind, places):
            names = cast("tuple[str, tuple[str, ...]]", shape)[1] if kind is FeatureBatch else ()
            joined = Joined(kind, self._scanned, alike, names)
            while joined.bad.any():
                for place in alike[joined.bad].tolist():
                    self._scanned.refuse(place)
                alike = alike[~joined.bad]
                if not len(alike):
                    break
                joined = Joined(kind, self._scanned, alike, names)
            if len(alike):
                self._cut(joined, shape, alike)

    def _cut(self, joined: Joined, shape: Hashable, places: Int64s) -> None:
        """Tables from the messages at `places` that `joined` holds."""
        for first, last in self._runs(places):
            home = self._homes.of[self._home_of[places[first]]]
            key: Key = (home.kind, home.exchange, home.ticker)
            if home.interval_ms >= 0:
                key = (home.kind, home.exchange, home.ticker, home.interval_ms, shape)
            columns, features = joined.part(first, last)
            self._group.tables[key] = Table(
                kind=home.kind,
                exchange=home.exchange,
                ticker=home.ticker,
                columns=columns,
                message_seq=self._group.seqs[places[first:last]],
                message_rows=joined.message_rows[first:last],
                message_levels=joined.message_levels[first:last],
                message_more=joined.message_more[first:last],
                interval_ms=max(home.interval_ms, 0),
                depth=joined.depth,
                catalogue=shape[0] if isinstance(shape, tuple) else "",
                features=features,
            )

    def _runs(self, places: Int64s) -> list[tuple[int, int]]:
        """First and last (not included) of each run of one subject."""
        homes = self._home_of[places]
        if homes[0] == homes[-1]:  # they are sorted by it
            return [(0, len(places))]
        starts = [0, *(np.flatnonzero(np.diff(homes)) + 1).tolist(), len(places)]
        return list(pairwise(starts))

    def _shapes(self, kind: type[Header], places: Int64s) -> Iterator[tuple[Hashable, Int64s]]:
        """Places by what else the messages of a table must share besides the subject."""
        if kind is BookBatch:
            depths = self._scanned.found[places, FIELDS[kind]["depth"], START]
            for depth in np.unique(depths).tolist():
                yield depth, places[depths == depth]
        elif kind is FeatureBatch:
            yield from self._feature_shapes(places)
        else:
            yield None, places

    def _feature_shapes(self, places: Int64s) -> Iterator[tuple[Hashable, Int64s]]:
        """Catalogue and names, compared as the bytes that they are in the messages."""
        scanned, found = self._scanned, self._scanned.found
        # The two fields follow each other.
        first, last = FIELDS[FeatureBatch]["catalogue"], FIELDS[FeatureBatch]["names"]
        begin = found[places, first, START].tolist()
        end = (found[places, last, START] + found[places, last, SIZE]).tolist()
        texts = [bytes(scanned.data[a:b]) for a, b in zip(begin, end, strict=True)]
        for text in dict.fromkeys(texts):
            alike = places[[one == text for one in texts]]
            try:
                model = codec.decode(scanned.stored[alike[0]].data, values=False)
            except Reject:  # names that are no text, or twice the same
                for place in alike.tolist():
                    scanned.refuse(place)
                continue
            model = cast(FeatureBatch, model)
            yield (model.catalogue, tuple(model.names)), alike

    def _collect_traced(self) -> None:
        """Note the few messages that carry a sampled packet's trace."""
        scanned = self._scanned
        blocks = map(_headers_of, scanned.stored)
        marked = [n for n, block in enumerate(blocks) if block and b"traceparent" in block]
        for place in marked:
            stored = scanned.stored[place]
            traceparent = header(stored.headers, "traceparent")
            if traceparent is None or place in scanned.reasons:
                continue
            message = codec.decode(stored.data, values=False)
            packet_id = getattr(message, "packet_id", -1)
            if isinstance(packet_id, bytes):
                packet_id = int.from_bytes(packet_id[-8:], "little", signed=True)
            facts = (stored.seq, stored.stored_ns, traceparent)
            self._group.traced.append(Traced(*facts, type(message), message.ticker, packet_id))

    def _collect_rejected(self) -> None:
        stored = self._scanned.stored
        for place, reason in sorted(self._scanned.reasons.items()):
            one = stored[place]
            rejected = Rejected(one.seq, one.stored_ns, one.subject, reason, one.data)
            self._group.rejected.append(rejected)


_subject_of = attrgetter("subject")
_headers_of = attrgetter("headers")
