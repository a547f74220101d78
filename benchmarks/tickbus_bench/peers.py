"""Figures of other programs on the same capture, if `make bench-peers` made their environment."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PYTHON = _ROOT / ".venv-peers" / "bin" / "python"
_SCRIPT = _ROOT / "benchmarks" / "peers" / "measure.py"
LINES_QUICK = 8_000
"""Of the capture, with `--quick`: most of the peers' time goes into starting and preparing."""
UNITS = {
    "order-book": "ns a level, update only",
    "nautilus_trader": "ns a level, update only",
    "hftbacktest": "ns a level, its replay loop over an array, range of prices given",
    "hftbacktest, hash map": "ns a level, the same without a range",
    "cryptofeed": "frames/s, parse and book only",
}
BOOKS = ("order-book", "nautilus_trader", "hftbacktest", "hftbacktest, hash map")


@lru_cache
def begin(capture: Path, quick: bool) -> subprocess.Popen[str] | None:
    """Have all peers measured in a process of their own, beside whatever we prepare meanwhile."""
    if not _PYTHON.exists():
        return None
    command = [str(_PYTHON), str(_SCRIPT), str(capture)]
    if quick:
        command.append(str(LINES_QUICK))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@lru_cache
def _figures(capture: Path, quick: bool) -> dict[str, dict[str, float | str]]:
    process = begin(capture, quick)
    if process is None:
        return {}
    text, _ = process.communicate()
    found: dict[str, dict[str, float | str]] = json.loads(text or "{}")
    return found


def figure(capture: Path, quick: bool, *peers: str) -> str:
    """What peers need, measured in this run; how to have it measured where none is installed."""
    found = _figures(capture, quick)
    if not found:
        return f"{', '.join(peers)}: not installed ('make bench-peers')"
    text = "; ".join(said(peer, found.get(peer, {"error": "not measured"})) for peer in peers)
    return f"{text} (first {LINES_QUICK:,} lines)" if quick else text


def said(peer: str, measured: dict[str, float | str]) -> str:
    """A peer's version, median and unit, or why it has none."""
    if "error" in measured:
        return f"{peer}: {measured['error']}"
    return f"{peer} {measured['version']}: {measured['median']:,.0f} {UNITS[peer]}"
