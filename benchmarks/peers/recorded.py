"""A capture as peers are given it: frames as text, and the level updates in them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from itertools import islice

Levels = list[tuple[str, str]]
"""(price, size) as the venue writes them"""


@dataclass
class Packet:
    """A depth frame, or the snapshot."""

    received_ns: int
    update_id: int
    bids: Levels
    asks: Levels


@dataclass
class Recorded:
    """The first lines of a capture."""

    frames: list[str] = field(default_factory=list)
    body: str = ""
    """the order book as its REST endpoint gave it"""
    snapshot: Packet = field(default_factory=lambda: Packet(0, 0, [], []))
    packets: list[Packet] = field(default_factory=list)

    @property
    def levels(self) -> int:
        """Level updates in all packets."""
        return sum(len(one.bids) + len(one.asks) for one in self.packets)


def read(path: str, lines_max: int | None) -> Recorded:
    """The first `lines_max` lines, or all."""
    found = Recorded()
    with gzip.open(path, "rt") as text:
        for line in map(json.loads, islice(text, lines_max)):
            if line["dir"] == "in":
                found.frames.append(line["data"])
                if "@depth" in line["data"][:60]:
                    event = json.loads(line["data"])["data"]
                    found.packets.append(Packet(line["ts"], event["u"], event["b"], event["a"]))
            elif line["dir"] == "http" and "lastUpdateId" in line["data"][:40]:
                book = json.loads(line["data"])
                found.body = line["data"]
                found.snapshot = Packet(
                    line["ts"], book["lastUpdateId"], book["bids"], book["asks"]
                )
    return found
