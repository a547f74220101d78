"""Small recordings in the captures' container, made line by line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects
from tickbus_sim.capture import Capture, read_capture

SPOT, USDM = map(dialects.load, (Exchange.BINANCE_SPOT, Exchange.BINANCE_USDM))
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def envelope(stream: str, **data: Any) -> str:
    """A frame of a combined stream."""
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":"))


def trade(symbol: str, trade_id: int) -> str:
    """A USD-M trade frame."""
    return envelope(
        f"{symbol}@trade", e="trade", E=1, T=1, s=symbol.upper(), t=trade_id, p="1.5", q="2", m=True
    )


def quote(symbol: str, update_id: int) -> str:
    """A USD-M book ticker frame."""
    return envelope(f"{symbol}@bookTicker", e="bookTicker", u=update_id, s=symbol.upper())


def depth(
    symbol: str,
    prev_id: int,
    last_id: int,
    bids: list[list[str]] | None = None,
    asks: list[list[str]] | None = None,
    *,
    channel: str = "depth@100ms",
) -> str:
    """A USD-M diff depth frame that follows `prev_id`."""
    return envelope(
        f"{symbol}@{channel}",
        e="depthUpdate",
        E=last_id,
        T=last_id,
        s=symbol.upper(),
        U=prev_id + 1,
        u=last_id,
        pu=prev_id,
        b=bids or [],
        a=asks or [],
    )


def body(last_id: int, bids: list[list[str]] | None = None) -> str:
    """A USD-M depth body, spaced as no encoder of ours would."""
    content = {"lastUpdateId": last_id, "E": last_id, "T": last_id, "bids": bids or [], "asks": []}
    return json.dumps(content, indent=1)


class Recording:
    """Lines of a capture; each frame or body is 10 ms after the one before."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ts = START_NS

    def frames(self, *texts: str) -> Recording:
        """Frames received on connection 0."""
        for text in texts:
            self._add(dir="in", data=text)
        return self

    def body(self, ticker: str, text: str) -> Recording:
        """A depth body of USD-M."""
        url = f"https://fapi.binance.com/fapi/v1/depth?symbol={ticker}&limit=1000"
        self._add(dir="http", url=url, data=text)
        return self

    def pause(self, seconds: float) -> Recording:
        """Time passes."""
        self._ts += int(seconds * 1e9)
        return self

    def raw(self, line: str) -> Recording:
        """A line as it is, good or bad."""
        self.lines.append(line)
        return self

    def write(self, path: Path) -> Path:
        """The file, compressed as its name says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in self.lines).encode()
        if path.name.endswith(".gz"):
            content = gzip.compress(content)
        elif path.name.endswith(".zst"):
            # Two zstd frames, as a recorder that was flushed in between leaves them.
            half = len(content) // 2
            pack = zstandard.ZstdCompressor().compress
            content = pack(content[:half]) + pack(content[half:])
        path.write_bytes(content)
        return path

    def capture(self, folder: Path) -> Capture:
        """The capture as the venue reads it."""
        return read_capture([self.write(folder / "binance_usdm" / "recording.jsonl")])

    def memory(self) -> Capture:
        """The capture as the venue reads it, for tests that may not share a folder."""
        with TemporaryDirectory() as folder:
            return self.capture(Path(folder))

    def _add(self, **keys: str) -> None:
        self._ts += 10 * MS
        self.lines.append(json.dumps({"ts": self._ts, "conn": 0} | keys))
