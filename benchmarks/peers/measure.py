"""What other programs need for the same frames; runs in an environment of its own.

    .venv-peers/bin/python benchmarks/peers/measure.py CAPTURE.jsonl.gz [LINES]

Prints one JSON object: of each peer the median of some runs and its version, or why it has none.
What is timed stands at the top of each `of_<peer>.py`. LINES: only the capture's first ones.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import version
from statistics import median
from typing import Any

from recorded import Recorded, read

RUNS = 3
FIGURES = {
    "order-book": ("order-book", "of_order_book", "ns_a_level"),
    "cryptofeed": ("cryptofeed", "of_cryptofeed", "frames_a_second"),
    "nautilus_trader": ("nautilus_trader", "of_nautilus_trader", "ns_a_level"),
    "hftbacktest": ("hftbacktest", "of_hftbacktest", "ns_a_level"),
    "hftbacktest, hash map": ("hftbacktest", "of_hftbacktest", "ns_a_level_hash_map"),
}
"""Distribution, module and function of each figure."""


def figure(recorded: Recorded, distribution: str, module: str, function: str) -> dict[str, Any]:
    """Median and version; a peer that does not run here is said, not fatal."""
    try:
        runs = getattr(importlib.import_module(module), function)(recorded, RUNS)
        return {"median": median(runs), "version": version(distribution)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    lines_max = int(sys.argv[2]) if len(sys.argv) > 2 else None
    recorded = read(sys.argv[1], lines_max)
    print(json.dumps({name: figure(recorded, *how) for name, how in FIGURES.items()}))


if __name__ == "__main__":
    main()
