"""How kernels are compiled and cached: https://numba.readthedocs.io/en/stable/developer/caching.html

Numba's cache checks the file of the function only, but a kernel contains the machine code of every
kernel that it calls. So the name of the cache folder is a hash of all files that may be inside: the
files of the kernel's own folder, and the client's kernels, which are in folders named `kernels`.
After a change in any of them, no old code is loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numba
from llvmlite import ir
from numba import extending

Function = TypeVar("Function", bound=Callable[..., Any])

Cell: TypeAlias = Any
"""An unsigned index inside a kernel. A signed one costs a test for negative values each time."""

_config: Any = numba.config
_used: set[Path] = set()
_LATELY_S = 3_600


def kernel(function: Function) -> Function:
    """Compile on first call, without Python objects, without the GIL, cached on disk.

    Floats keep IEEE order (no fastmath): live and batch must agree to the bit.
    """
    return _compile(function, inline="never")


def part(function: Function) -> Function:
    """A part of kernels, inlined before the optimiser runs: it costs no call."""
    return _compile(function, inline="always")


# Single instructions that Python has no name for.
_instruction: Callable[[Callable[..., Any]], Any] = extending.intrinsic


@_instruction
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Place of the lowest set bit of an unsigned word that has one, as a word."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return word(word), generate


@_instruction
def set_bits(typing: Any, word: Any) -> Any:
    """How many bits of an unsigned word are set, as a word."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return word(word), generate


@_instruction
def bits_of(typing: Any, value: Any) -> Any:
    """The bits of a double as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return numba.int64(numba.float64), generate


@_instruction
def double_of(typing: Any, bits: Any) -> Any:
    """The double that has these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return numba.float64(numba.int64), generate


def _compile(function: Function, inline: Any) -> Function:
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(cache_dir(Path(function.__code__.co_filename).parent))
    try:
        decorate: Any = numba.njit(cache=True, nogil=True, error_model="numpy", inline=inline)
        compiled: Function = decorate(function)
    finally:
        _config.CACHE_DIR = before
    return compiled


def forget_old_caches() -> None:
    """Remove the caches of earlier sources: folders not used here and not written lately."""
    for used in list(_used):
        for folder in used.parent.glob("kernels-*"):
            if folder not in _used and time.time() - folder.stat().st_mtime > _LATELY_S:
                shutil.rmtree(folder, ignore_errors=True)


@lru_cache
def cache_dir(sources: Path) -> Path:
    """Where kernels of the folder `sources` are kept: NUMBA_CACHE_DIR, else beside these files,
    else in the user's cache folder.
    """
    own = Path(__file__).parent
    text = hashlib.sha256()
    for file in sorted({Path(__file__), *own.rglob("kernels/*.py"), *sources.glob("*.py")}):
        text.update(file.read_bytes())
    beside = own / "__pycache__"
    if _config.CACHE_DIR:
        root = Path(_config.CACHE_DIR)
    elif os.access(beside if beside.exists() else own, os.W_OK):
        root = beside
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickbus"
    folder = root / f"kernels-{text.hexdigest()[:16]}"
    _used.add(folder)
    return folder
