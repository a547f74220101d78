"""What a service loads at start, it loads in every process of every shard."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["aiohttp", "rich", "polars", "prometheus_client", "opentelemetry.sdk"]


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        ("ingest", ["aiohttp"]),
        ("book", []),
        ("features", []),
        ("writer", []),
        ("alerts", ["aiohttp"]),
    ],
)
def test_a_service_starts_without_what_its_libraries_would_take_along(
    service: str, needed: list[str]
) -> None:
    unwanted = [name for name in HEAVY if name not in needed]
    program = (
        f"import sys, tickbus_{service}.__main__\n"
        f"print([name for name in {unwanted} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
