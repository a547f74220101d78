"""What differs between rows that were read and rows that a vector expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.venue.rows import Control
from tickbus_schemas.messages import ABSENT

from tests.ingest.venues.playing import Player
from tests.ingest.venues.vectors import Row, Step, wire_text

NOT_COMPARED = {"frame", "ticker", "number", "event_us", "whole"}
"""Columns that an expected row names in another way, or only if it likes to."""


def found_rows(decoded: Decoded, tickers: Sequence[str]) -> dict[str, list[Row]]:
    """The decoded events by feed, each a row as `rows` spells it."""
    return {
        feed: [_row(decoded, feed, columns, n, tickers) for n in range(len(columns["frame"]))]
        for feed, columns in decoded.tables.items()
    }


def _row(decoded: Decoded, feed: str, columns: Any, n: int, tickers: Sequence[str]) -> Row:
    row: Row = {name: column[n].item() for name, column in columns.items()}
    row["ticker"] = tickers[row["ticker"]]
    if feed == "trade":
        number = row["number"]
        row["trade_id"] = str(number) if decoded.ids is None else decoded.ids.tolist()[n]
    if feed == "l2":
        assert decoded.levels is not None
        levels = decoded.levels
        own = slice(int(levels.ends[n]), int(levels.ends[n + 1]))
        row["snapshot"] = row["whole"]
        row["levels"] = [
            list(level)
            for level in zip(
                levels.side[own].tolist(),
                levels.price[own].tolist(),
                levels.qty[own].tolist(),
                strict=True,
            )
        ]
    return row


def _nothing(name: str, value: Any) -> bool:
    """Whether this is what a column holds when the venue says nothing of it."""
    if isinstance(value, float):
        return math.isnan(value)
    return value in (0, ABSENT, False, "", []) or name in NOT_COMPARED


def same_value(expected: Any, found: Any) -> bool:
    """Whether a value is the expected one; null stands for unknown."""
    if expected is None:
        return found == ABSENT or (isinstance(found, float) and math.isnan(found))
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(same_value, expected, found))
    if isinstance(expected, bool) or isinstance(found, bool):
        return bool(expected) is bool(found)
    return bool(expected == found)


def differences(expected: Row, found: Row, first_ticker: str, *, all_of_it: bool) -> list[str]:
    """What differs between a row and the expected one. `all_of_it`: nothing else may be said."""
    expected = {"ticker": first_ticker} | expected
    wrong = [
        f"{name}: expected {value!r}, found {found.get(name, 'no such column')!r}"
        for name, value in expected.items()
        if name not in found or not same_value(value, found[name])
    ]
    if all_of_it:
        wrong += [
            f"{name}: found {value!r}, nothing expected"
            for name, value in found.items()
            if name not in expected and not _nothing(name, value)
        ]
    return wrong


def wrong_rows(step: Step, decoded: Decoded, tickers: Sequence[str]) -> list[str]:
    """Every difference between what a step should hold and what was read."""
    wrong = []
    rows, expected = found_rows(decoded, tickers), step.rows or {}
    for feed in sorted(set(rows) | set(expected)):
        ours, theirs = rows.get(feed, []), expected.get(feed, [])
        if len(ours) != len(theirs):
            wrong.append(f"{feed}: expected {len(theirs)} rows, found {len(ours)}: {ours}")
            continue
        for n, (own, wanted) in enumerate(zip(ours, theirs, strict=True)):
            found = differences(wanted, own, tickers[0], all_of_it=True)
            wrong += [f"{feed}[{n}].{difference}" for difference in found]
    why = decoded.refused.get(0)
    if (step.reject is None) != (why is None) or (why and step.reject and step.reject not in why):
        wrong.append(f"refused: expected {step.reject!r}, found {why!r}")
    channels = step.ignored if isinstance(step.ignored, list) else [step.ignored]
    if sorted({one for one in channels if one}) != sorted({one for _, one in decoded.ignored}):
        wrong.append(f"ignored: expected {channels}, found {decoded.ignored}")
    replies = [wire_text(one) for one in step.replies or []]
    if replies != [text for _, text in decoded.replies]:
        wrong.append(f"replies: expected {replies}, found {decoded.replies}")
    losses = [reason for _, reason, _ in decoded.losses]
    if len(losses) != (step.lost is not None) or (step.lost and step.lost not in losses[0]):
        wrong.append(f"lost: expected {step.lost!r}, found {losses}")
    return wrong + _wrong_controls(step, decoded.controls)


def _wrong_controls(step: Step, found: Sequence[Control]) -> list[str]:
    wanted = step.control if isinstance(step.control, list) else [step.control]
    expected = [one for one in wanted if one is not None]
    if len(expected) != len(found):
        return [f"control: expected {expected}, found {list(found)}"]
    wrong = []
    for own, theirs in zip(found, expected, strict=True):
        flags = ("error", "fatal", "closing", "answer", "notice", "stream")
        same = all(
            getattr(own, name) == theirs.get(name, type(getattr(own, name))()) for name in flags
        )
        if not same or str(theirs.get("text", "")) not in own.text:
            wrong.append(f"control: expected {theirs}, found {own}")
    return wrong


def wrong_session(step: Step, player: Player) -> list[str]:
    """Every difference between what a session should make of a step and what it did."""
    wrong = []
    for feed, expected in (step.publishes or {}).items():
        found = player.step_published.get(feed, [])
        if len(found) != len(expected):
            wrong.append(f"{feed}: expected {len(expected)} rows, published {found}")
            continue
        for n, (own, wanted) in enumerate(zip(found, expected, strict=True)):
            first = player.venue.tickers[0]
            wrong += [
                f"published {feed}[{n}].{difference}"
                for difference in differences(wanted, own, first, all_of_it=False)
            ]
    for name, wish, found_wish in (
        ("asks", step.asks, player.asked),
        ("resubscribes", step.resubscribes, player.resubscribed),
    ):
        if wish is not None and wish != found_wish:
            wrong.append(f"{name}: expected {wish}, found {found_wish}")
    return wrong
