"""Packed frames to plain ones, bounded: a few bytes may claim to be many."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tickbus_ingest.venue.contract import Compression

Unpack = Callable[[bytes], bytes]

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""`wbits` of https://docs.python.org/3/library/zlib.html#zlib.decompress"""


def unpacker(compression: Compression, most: int) -> Unpack | None:
    """A function that unpacks one frame into at most `most` + 1 bytes; None where none is packed.

    What stops there is longer than any frame that is accepted, so it is refused as too long. Bytes
    that cannot be unpacked stay as they are: the venue's file refuses them.
    """
    if compression is Compression.NONE:
        return None

    def unpack(data: bytes) -> bytes:
        wbits = _GZIP if compression is Compression.GZIP else _wbits_of_deflate(data)
        try:
            return zlib.decompressobj(wbits).decompress(data, most + 1)
        except zlib.error:
            return data

    return unpack


def _wbits_of_deflate(data: bytes) -> int:
    """With a zlib header where there is one (RFC 1950), else raw (RFC 1951)."""
    has_header = len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _ZLIB if has_header else _RAW
