"""After the warm-up no frame of any venue has to wait for a kernel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from tickbus_ingest import serve as serve_module

PROGRAM = """
import gc

from numba.core.dispatcher import Dispatcher
from tests.ingest.venues import vectors
from tests.ingest.venues.playing import Player
from tickbus_ingest.warm import main


def compiled():
    return {
        f"{one.py_func.__module__}.{one.py_func.__name__}": len(one.signatures)
        for one in gc.get_objects()
        if isinstance(one, Dispatcher) and "tickbus" in one.py_func.__module__
    }


main()
before = compiled()
for file in vectors.files():
    story = vectors.story(file)
    player = Player.of(story)
    for step in story.steps:
        player.step(step)
    player.wait(60, settle=True)
after = compiled()
print(sorted(name for name in after if after[name] != before.get(name)))
"""


@pytest.mark.connected
def test_the_stories_of_all_venues_compile_nothing_more() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=110
    )
    assert found.returncode == 0, found.stderr[-2_000:]
    assert found.stdout.strip() == "[]"


def test_a_process_may_end_while_kernels_are_compiled() -> None:
    """A thread of a pool would be waited for."""
    compiled = threading.Event()

    async def serve() -> bool:
        return serve_module._beside(compiled.wait).done()

    try:
        assert not asyncio.run(asyncio.wait_for(serve(), 60))
    finally:
        compiled.set()


def test_what_goes_wrong_in_warming_is_told() -> None:
    def fails() -> object:
        raise ValueError("no compiler here")

    async def serve() -> None:
        await serve_module._beside(fails)

    with pytest.raises(ValueError, match="no compiler here"):
        asyncio.run(serve())
