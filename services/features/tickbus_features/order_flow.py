"""Order flow of one best-quote change.

Cont, Kukanov, Stoikov 2014, The Price Impact of Order Book Events, Journal of Financial
Econometrics 12(1): a queue that improves adds its whole size, one that is left takes its whole old
size away, and only at an unchanged price does the difference count.
"""

from __future__ import annotations

from tickbus.compiled import kernel


@kernel
def contribution(
    bid_px: float,
    bid_sz: float,
    ask_px: float,
    ask_sz: float,
    bid_px_before: float,
    bid_sz_before: float,
    ask_px_before: float,
    ask_sz_before: float,
) -> float:
    """e_n of a quote and the quote before; a side without orders has price -inf or inf, size 0."""
    flow = 0.0
    if bid_px >= bid_px_before:
        flow += bid_sz
    if bid_px <= bid_px_before:
        flow -= bid_sz_before
    if ask_px <= ask_px_before:
        flow -= ask_sz
    if ask_px >= ask_px_before:
        flow += ask_sz_before
    return flow


@kernel
def side_or_none(price: float, size: float, none: float) -> tuple[float, float]:
    """Price and size of a side; a side that is empty has the price `none` and size 0."""
    if size > 0.0:
        return price, size
    return none, 0.0
