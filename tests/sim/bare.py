"""Frames without what tells one connection from another."""

from __future__ import annotations

from tickbus_sim.dialect import CONTROL, Dialect, Refusal


def bare(dialect: Dialect, text: bytes) -> bytes:
    """As the first frame of a new connection: where those are counted, numbers differ.

    Where a connection names its topics in the URL (it is refused here), nothing is counted.
    """
    line = dialect.open(dialect.routes[0], {})
    return text if isinstance(line, Refusal) else dialect.on_wire(line, text, CONTROL)
