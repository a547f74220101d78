"""Follows the log file of a child process: lines for a person, and its last error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

IMPORTANT = frozenset({"warning", "error"})
"""Levels that are shown at once; a critical line ends the run and is shown there."""
ALERT = "alert "
"""How the line of an alert begins (`tickbus_runtime.alerts.teller`)."""
_PROGRAM = re.compile(r"^tickbus-[a-z]+: ")
_ABOUT = frozenset({"level", "timestamp", "service", "event", "exception", "fatal"})


class LogTail:
    """Reads what was added to a log file since the last call; skips lines of earlier runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._last_error = ""
        self.last_warning = ""
        """The last of the important lines."""

    def new_lines(self) -> list[str]:
        """The important lines since the last call, for a person."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        shown = []
        for line in whole.decode(errors="replace").splitlines():
            level, text = _read(line)
            if level in ("error", "critical") or (level == "" and text.strip()):
                self._last_error = text
            if level in IMPORTANT:
                shown.append(text)
                if not text.startswith(ALERT):  # it follows from what was said before
                    self.last_warning = text
        return shown

    def last_error(self) -> str:
        """The last error line; without one, the last line that is not JSON."""
        self.new_lines()
        return self._last_error


def _read(line: str) -> tuple[str, str]:
    """Level and text of a log line; level "" for a line that is not JSON (a traceback's)."""
    try:
        event: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "", _PROGRAM.sub("", line)
    facts = [f"{key}={value}" for key, value in event.items() if key not in _ABOUT]
    text = " ".join([str(event.get("event", "")), *facts])
    exception = str(event.get("exception", "")).strip().splitlines()
    if exception:
        text += f": {exception[-1]}"
    return str(event.get("level", "")), text
