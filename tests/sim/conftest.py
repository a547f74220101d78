"""A venue as its users start it: a process that tells its ports in its first line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class RunningVenue:
    """A venue's process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickbus_sim", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.facts: dict[str, Any] = json.loads(line)

    @property
    def ws(self) -> str:
        """Where WebSockets are."""
        return str(self.facts["ws"])

    def get(self, path: str) -> bytes:
        """The body of a REST answer."""
        with urllib.request.urlopen(self.facts["rest"] + path, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def finish(self) -> dict[str, Any]:
        """Waits for the venue to end by itself; its end line."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        end: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return end

    def stop(self) -> dict[str, Any]:
        """Ends the venue as a supervisor does; its end line."""
        self.process.terminate()
        return self.finish()

    def close(self) -> None:
        """Makes sure that nothing stays behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="session")
def found() -> Path:
    """The folder of small inputs that went wrong; skipped where it is absent."""
    folder = Path(os.environ.get("TICKBUS_FOUND", ROOT.parent / "shared" / "found"))
    if not folder.is_dir():
        pytest.skip(f"no inputs at {folder}: set TICKBUS_FOUND to their folder")
    return folder


@pytest.fixture
def start_venue() -> Iterator[Callable[..., RunningVenue]]:
    """Starts venues that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: object) -> RunningVenue:
            venue = RunningVenue(*map(str, arguments))
            stack.callback(venue.close)
            return venue

        yield start
