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


def lean_kernel(function: Function) -> Function:
    """A kernel that makes no array of its own, so that nothing in it counts references.

    In others a hand-over of an array to a part does, where Numba does not see that it need not: the
    kernel of price levels took twice as long. Compiling one that does make an array fails.
    """
    return _compile(function, inline="never", _nrt=False)


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


@_instruction
def word_at(typing: Any, text: Any, at: Any) -> Any:
    """Eight bytes of a text u8[n] from `at` (u64) on, the first one lowest.

    They need not be aligned, as those of a view would have to be. Nothing checks that n >= at + 8.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(ir.IntType(64), context, builder, signature, args)

    return numba.uint64(text, numba.uint64), generate


STRING_BYTES = 16


@_instruction
def string_stop(typing: Any, text: Any, at: Any) -> Any:
    """How many bytes from `at` (u64) on a JSON string holds as they are; at most STRING_BYTES.

    It holds no quote, backslash or control character so. Nothing checks that the text, u8[n], has
    STRING_BYTES there.
    """
    many, bits = ir.VectorType(ir.IntType(8), STRING_BYTES), ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        own = _load(many, context, builder, signature, args)
        quote, backslash, space = (ir.Constant(many, [one] * STRING_BYTES) for one in b'"\\ ')
        ends = builder.icmp_unsigned("==", own, quote)
        escapes = builder.icmp_unsigned("==", own, backslash)
        stops = builder.or_(builder.or_(ends, escapes), builder.icmp_unsigned("<", own, space))
        places = builder.zext(builder.bitcast(stops, ir.IntType(STRING_BYTES)), bits)
        none = ir.Constant(bits, 1 << STRING_BYTES)
        return builder.cttz(builder.or_(places, none), ir.Constant(ir.IntType(1), 1))

    return numba.int64(text, numba.uint64), generate


def _load(kind: Any, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """A value of this LLVM type at a place of an array of bytes, aligned or not."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    place = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _compile(function: Function, **how: Any) -> Function:
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(cache_dir(Path(function.__code__.co_filename).parent))
    try:
        decorate: Any = numba.njit(cache=True, nogil=True, error_model="numpy", **how)
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
