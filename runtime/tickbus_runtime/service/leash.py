"""No process outlives its parent, even if the parent is killed.

On Linux the kernel sees to it (prctl PR_SET_PDEATHSIG, man 2 prctl). Elsewhere a supervised Python
process notices that its standard input, a pipe of its parent, has closed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

SUPERVISED = "TICKBUS_SUPERVISED"
"""Environment variable: process id of the supervisor, whose pipe is our standard input."""
HELD = "TICKBUS_HELD"
"""Environment variable: do not begin to work before a line arrives on that pipe."""

_released = threading.Event()
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent() -> None:
    """For a child between fork and exec: the kernel kills it when its parent dies (Linux only)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hold() -> None:
    """At the start of a supervised process: make it exit when its supervisor has gone."""
    supervisor = os.environ.get(SUPERVISED)
    if supervisor is None:
        return
    die_with_parent()
    if os.getppid() != int(supervisor):  # the parent died before the call
        os._exit(1)
    threading.Thread(target=_watch_stdin, daemon=True, name="leash").start()


def released() -> bool:
    """Whether the process may begin to work."""
    return HELD not in os.environ or _released.is_set()


def _watch_stdin() -> None:
    try:
        while os.read(0, 1024):
            _released.set()
    except OSError:
        return  # no readable standard input: nothing to watch
    os._exit(1)
