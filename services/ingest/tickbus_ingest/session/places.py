"""Small numbers for open connections: the place of each among those of its route.

SLOTS connections of a route are told apart; further ones share the last slot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tickbus_ingest.session.kernels.race import SLOTS
from tickbus_ingest.session.tables import I32
from tickbus_ingest.venue.contract import Line, Route

NOWHERE = (-1, SLOTS - 1)
"""Of REST bodies, and of what a closed connection still brought: route and slot."""


@dataclass
class Places:
    """Route and slot of each open connection: a slot is used again, a line's number is not."""

    _routes: list[Route | str] = field(default_factory=list)
    _taken: dict[int, tuple[int, int]] = field(default_factory=dict)
    """line -> route, slot"""

    def open(self, line: Line) -> tuple[int, int]:
        """A connection was opened: its route and slot."""
        # Tickers that go leave a route that is another one, and the same by its name.
        route = self._route(line.name.partition(".")[0] or line.route)
        taken = {slot for other, slot in self._taken.values() if other == route}
        slot = next((n for n in range(SLOTS) if n not in taken), SLOTS - 1)
        self._taken[line.number] = route, slot
        return route, slot

    def close(self, number: int) -> tuple[int, int]:
        """A connection is gone: the route and slot that it had."""
        return self._taken.pop(number, NOWHERE)

    def of(self, lines: I32) -> tuple[I32, I32]:
        """Route and slot of the connection of each frame."""
        if not len(lines):
            return lines, lines
        if (lines == lines[0]).all():
            route, slot = self._taken.get(int(lines[0]), NOWHERE)
            return np.full(len(lines), route, np.int32), np.full(len(lines), slot, np.int32)
        numbers, inverse = np.unique(lines, return_inverse=True)
        known = [self._taken.get(number, NOWHERE) for number in numbers.tolist()]
        places = np.array(known, np.int32)[inverse]
        return places[:, 0].copy(), places[:, 1].copy()

    def _route(self, route: Route | str) -> int:
        if route not in self._routes:
            self._routes.append(route)
        return self._routes.index(route)
