"""When and where the frames of a batch arrived."""

from __future__ import annotations

from dataclasses import dataclass

from tickbus_ingest.session.tables import I32, I64


@dataclass(frozen=True, slots=True)
class Arrived:
    """What ingest knows of each frame of a batch, whatever the frame says; columns [frames]."""

    received_us: I64
    packet_id: I64
    line: I32
    """the connection that it came over; -1: it is a REST body"""
