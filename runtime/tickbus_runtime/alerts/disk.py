"""Whether a disk is nearly full."""

from __future__ import annotations

import shutil
from pathlib import Path

from tickbus_runtime.alerts.alarms import Holding, Place

LEAST_BYTES = 1024**3
LEAST_SHARE = 0.05
ENOUGH_BYTES = 50 * 1024**3
"""So much is enough, whatever share of the disk it is."""


def nearly_full(free: int, total: int, folder: str) -> Holding:
    """Of a disk with so many bytes free: less than 1 GiB, or than 5 % (50 GiB are enough)."""
    if free >= max(LEAST_BYTES, min(LEAST_SHARE * total, ENOUGH_BYTES)):
        return {}
    told = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free where {folder} is"
    return {Place("disk_nearly_full"): told}


class DiskWatch:
    """Looks at the disk of one folder, which may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self, now_s: float) -> Holding:
        """What holds now; nothing where the system does not say."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return {}
        return nearly_full(usage.free, usage.total, str(self._folder))
