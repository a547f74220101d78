"""How numbers, times and tables look to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Bytes with the unit that fits: `1.5 MiB`."""
    for unit in _BYTE_UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_BYTE_UNITS[-1]}"


def duration(seconds: float) -> str:
    """A time span in its two largest units: `2h 5m`."""
    whole = round(seconds)
    parts: list[str] = []
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        if whole >= length or (unit == "s" and not parts):
            parts.append(f"{whole // length}{unit}")
        whole %= length
    return " ".join(parts[:2])


def clock(time_us: int) -> str:
    """A time as `2026-11-21T10:00:00.123456Z`, or the bare number where there is no such date."""
    try:
        found = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_us} us"
    return f"{found:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}Z"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; a header that begins with `>` stands over numbers, to the right."""
    right = [name.startswith(">") for name in header]
    cells = [[name.removeprefix(">") for name in header], *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
