"""What frames bring besides rows: refusals, answers, notices; and the fates of those without."""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from tickbus_ingest.session.arrived import Arrived
from tickbus_ingest.session.connections import Connections
from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.tables import Flush, Refused
from tickbus_ingest.venue.rows import Control
from tickbus_ingest.wire.buffer import Frames

ERRORS_MAX = 20
"""Texts of refusals that one flush keeps."""


def take_control(
    decoded: Decoded, batch: Frames, arrived: Arrived, connections: Connections, out: Flush
) -> None:
    """Everything that is no row; before the batch moves the clock."""
    if decoded.long_decimals:
        out.counts["long_decimals", ""] += decoded.long_decimals
    said: list[tuple[int, Refused | Control]] = []
    for frame, why in decoded.refused.items():
        packet, received = int(arrived.packet_id[frame]), int(arrived.received_us[frame])
        refused = Refused(packet, received, why, batch.data[frame])
        out.refused.append(refused)
        out.fates["refused", ""] += 1
        said.append((frame, refused))
    out.replies += [(batch.line[frame], reply) for frame, reply in decoded.replies]
    for control in decoded.controls:
        _take_one(control, batch.line[control.frame], out)
        if control.fatal or control.notice:
            said.append((control.frame, control))
    for frame, one in sorted(said, key=itemgetter(0)):
        connections.refused(one, frame, decoded, arrived, out)
    _tell_fates(decoded, len(batch), out)


def _take_one(control: Control, line: int, out: Flush) -> None:
    if control.closing:
        out.closing_lines.add(line)
    if control.error:
        if len(out.errors) < ERRORS_MAX:
            out.errors.append(control.text)
        out.counts["venue_errors", ""] += 1
    if control.answer:
        out.answers.append(line)


def _tell_fates(decoded: Decoded, count: int, out: Flush) -> None:
    """Of the frames without an event; the policies tell the others'."""
    has_rows = np.zeros(count, np.bool_)
    for columns in decoded.tables.values():
        has_rows[columns["frame"]] = True
    without = count - int(np.count_nonzero(has_rows)) - len(decoded.refused)
    if not without:
        return
    for frame, channel in dict(decoded.ignored).items():
        if not has_rows[frame] and frame not in decoded.refused:
            out.fates["ignored", channel] += 1
            without -= 1
    if without:
        out.fates["control", ""] += without
