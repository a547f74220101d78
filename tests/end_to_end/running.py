"""`tickbus up` as a user starts it: a process, a folder, one JSON object at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

TICKBUS = Path(sys.executable).with_name("tickbus")


class Run:
    """One run of `tickbus up` that ends by itself."""

    def __init__(self, data: Path, *arguments: str, environment: dict[str, str]) -> None:
        self.data = data
        self.said = ""
        """standard error of a run that has ended"""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
        self.process = subprocess.Popen(
            [TICKBUS, "up", *arguments, "--data", data, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=inherited | environment,
        )

    def finish(self, timeout_s: float = 180, *, code: int = 0) -> dict[str, Any]:
        """The JSON object of the last line; the run must have ended with this exit code."""
        out, self.said = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == code, self.said[-4_000:]
        result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return result

    def wait_for_frames(self, timeout_s: float = 150) -> None:
        """Until ingest says that frames have come in."""
        deadline = time.monotonic() + timeout_s
        while self._frames() == 0:
            assert self.process.poll() is None, "the run ended before anything was received"
            assert time.monotonic() < deadline, "nothing was received"
            time.sleep(0.05)

    def _frames(self) -> float:
        try:
            facts = json.loads((self.data / "_run" / "ingest.json").read_text())
            with urllib.request.urlopen(facts["health_url"] + "/status", timeout=5) as answer:
                counters = json.load(answer)["counters"]
        except (OSError, ValueError):
            return 0
        return float(counters.get("frames{source=websocket}", 0))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the process of a service (or `nats`) this signal; its pid."""
        pid = int(json.loads((self.data / "_run" / f"{name}.json").read_text())["pid"])
        os.kill(pid, number)
        return pid

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
