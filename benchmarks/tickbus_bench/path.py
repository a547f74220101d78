"""The whole path of a capture against the same job by hand.

Timed: WebSocket, JetStream, book, features, writer, from the first frame to the last committed
file, all processes on this machine, after start-up. Beside it: `by_hand`, one process without a
bus, books and trades only, in the same run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from tickbus_bench import by_hand, capture
from tickbus_bench.processes import whole_runs
from tickbus_bench.target import Target, of_runs


def hand_seconds(path: Path, runs: int) -> list[float]:
    """Seconds of the job by hand, after a run that warms it."""
    frames = capture.load(path)
    job = frames.of(b"@depth"), frames.of(b"@trade"), frames.bodies[0]
    with tempfile.TemporaryDirectory() as folder:
        by_hand.run(*job, Path(folder))
        return [by_hand.seconds(*job, Path(folder)) for _ in range(runs)]


def measure(path: Path, quick: bool) -> list[Target]:
    """One target: seconds of the whole path as a multiple of the job by hand."""
    hand = median(hand_seconds(path, 3 if quick else 5))
    results = whole_runs(path, quick)
    seconds = [result["seconds"] for result in results]
    return [
        Target(
            name="path.times_by_hand",
            unit="x",
            target=11,
            at_least=False,
            peer=f"by hand {hand:.3f} s (books and trades, no bus)",
            notes={
                "frames": results[0]["frames"],
                "seconds": seconds,
            },
            **of_runs([one / hand for one in seconds]),
        )
    ]
