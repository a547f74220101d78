"""Many tickers at once: frames/s of one ingest process from socket to ack, 500 tickers.

The frames are those of the capture, each given to one of 500 tickers drawn by a power law: the
first ten make half of them. So the mix of trades, quotes and book updates, and the size of a book,
are a real market's; ids are made to follow each other. Every book has had its snapshot and its
first update when the clock starts. Full flushes, then with `linger_ms=5`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tickbus_bench import capture, ingest
from tickbus_bench.peers import figure
from tickbus_bench.target import Target

TICKERS = 500
EXPONENT = 1.08
"""Activity falls with rank to this power: ten of 500 tickers then make half of the frames."""
PEER = "cryptofeed"
TARGETS = {"ingest.wide": (100_000, 0), "ingest.wide_linger": (160_000, 5)}


def measure(path: Path, quick: bool) -> list[Target]:
    """Both targets, on a capture of many tickers made of the one given."""
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder:
        wide = Path(folder) / path.parent.name / path.name
        wide.parent.mkdir()
        share = write(path, wide)
        peer = figure(path, quick, PEER)
        return asyncio.run(_measure(wide, quick, share, peer))


async def _measure(path: Path, quick: bool, share: float, peer: str) -> list[Target]:
    found = []
    for name, (target, linger_ms) in TARGETS.items():
        settings = {"INGEST__LINGER_MS": str(linger_ms)}
        results = await ingest.runs(path, "picows", 3 if quick else 5, settings)
        notes = {"tickers": TICKERS, "share_of_first_ten": share, "linger_ms": linger_ms}
        found.append(ingest.target(name, target, results, peer, notes))
    return found


def write(source: Path, wide: Path) -> float:
    """Write the capture of many tickers; the share of frames that the first ten have."""
    names = [f"T{n:03d}USDT" for n in range(TICKERS)]
    weights = [1 / (n + 1) ** EXPONENT for n in range(TICKERS)]
    with gzip.open(wide, "wt", compresslevel=1) as file:
        for line in _lines(source, names, weights):
            file.write(json.dumps(line) + "\n")
    return float(sum(weights[:10]) / sum(weights))


def _lines(source: Path, names: list[str], weights: list[float]) -> Iterator[dict[str, object]]:
    lines = capture.lines(source)
    body = next(line for line in lines if capture.is_book(line))
    ticker = re.search(r"symbol=(\w+)", body.url)
    assert ticker
    of_one = ticker[1].encode()
    first_id = json.loads(body.data)["lastUpdateId"]
    ids = dict.fromkeys(names, first_id)
    numbers = dict.fromkeys(names, 0)
    for name in names:
        yield {
            "ts": body.ts,
            "dir": "http",
            "url": body.url.replace(ticker[1], name),
            "data": body.data,
        }
    frames = [line for line in lines if line.dir == "in"]
    first = next(line for line in frames if "@depth" in line.data[:60])
    picks = random.Random(1).choices(names, weights, k=len(frames))
    frames, picks = [first] * len(names) + frames, names + picks
    for line, name in zip(frames, picks, strict=True):
        frame = line.data.encode().replace(of_one, name.encode())
        frame = frame.replace(of_one.lower(), name.lower().encode())
        if b"@trade" in frame[:60]:
            numbers[name] += 1
            frame = re.sub(rb'"t":\d+', b'"t":%d' % numbers[name], frame)
        elif b"@depth" in frame[:60]:
            before, ids[name] = ids[name], ids[name] + 10
            frame = re.sub(
                rb'"U":\d+,"u":\d+(,"pu":\d+)?',
                b'"U":%d,"u":%d,"pu":%d' % (before + 1, ids[name], before),
                frame,
            )
        yield {"ts": line.ts, "dir": "in", "data": frame.decode()}
