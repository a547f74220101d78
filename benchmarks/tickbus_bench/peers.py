"""Figures of other programs on the same capture, if `make bench-peers` made their environment."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PYTHON = _ROOT / ".venv-peers" / "bin" / "python"
_SCRIPT = _ROOT / "benchmarks" / "peers" / "measure.py"
_UNITS = {"order-book": "ns a level, update only", "cryptofeed": "frames/s, parse and book only"}


@lru_cache
def _figures(capture: Path) -> dict[str, dict[str, float | str]]:
    if not _PYTHON.exists():
        return {}
    done = subprocess.run([_PYTHON, _SCRIPT, capture], capture_output=True, text=True)
    found: dict[str, dict[str, float | str]] = json.loads(done.stdout or "{}")
    return found


def figure(capture: Path, peer: str) -> str:
    """What a peer needs, measured now; how to have it measured where it is not installed."""
    found = _figures(capture)
    if peer not in found:
        return f"{peer}: not installed ('make bench-peers')"
    if "error" in found[peer]:
        return f"{peer}: {found[peer]['error']}"
    median = float(found[peer]["median"])
    return f"{peer} {found[peer]['version']}: {median:,.0f} {_UNITS[peer]}"
