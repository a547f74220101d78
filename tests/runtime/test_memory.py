"""A service keeps the memory that it frees, so that large messages cost no page faults."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import json, resource
from tickbus_runtime.service import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [bytes([n]) * 200_000 for n in range(100)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
memory.keep_freed()
faults()
print(json.dumps([plain, faults()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True)
    plain, kept = json.loads(done.stdout)
    assert plain > 10_000
    assert kept < plain / 100
