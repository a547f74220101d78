"""`tickbus up` as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import Run


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts `tickbus up ... --data <fresh folder> --json`."""
    runs: list[Run] = []

    def start(
        *arguments: str, data: Path | None = None, environment: dict[str, str] | None = None
    ) -> Run:
        folder = data or tmp_path / f"out{len(runs)}"
        runs.append(Run(folder, *arguments, environment=environment or {}))
        return runs[-1]

    yield start
    for run in runs:
        run.close()
