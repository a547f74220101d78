"""Frames that no venue sends, made of those that it does: one value, key or byte is another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

DEEP = 3000
JUNK = (
    "null", "true", "false", "0", "-0", "-1", "1", "1.5", "-2.5e-3", "1e400", "-1e400", "1e-400",
    "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "1" + "0" * 400,
    "1760000000000", "4102444800000", "1760000000000000000", "-1760000000000",
    '""', '" "', '"NaN"', '"nan"', '"inf"', '"-Infinity"', '"1e400"', '"-1"', '" 1"', '"1 "',
    '"+1"', '"1_0"', '"0x10"', '"1,5"', '".5"', '"5."', '"٣"', '"null"', '"true"', '"a"', '"[]"',
    '"\\u0000"', '"\\ud800"', '"\\u00e9"', '"' + "9" * 400 + '"', '"' + "a" * 5000 + '"',
    '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"2025-10-09T08:53:20+25:00"',
    "[]", "{}", "[[]]", "[null]", "[{}]", '{"":0}', "[1,2,3]", '["1","2"]', '[["1"]]',
    '[["1","2"]]', '[["1","2","3","4"]]', '[{"price":1,"qty":2}]', '[["NaN","1"]]', '[["1","-1"]]',
    '[["new",1,2]]', "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "", "[", "}",
    '"', "'a'", "/**/", "\\",
)  # fmt: skip
"""JSON values of wrong types and sizes, and texts that are none."""


class Token(str):
    """The text of a number, as it stood."""


class Members(list[tuple[str, Any]]):
    """An object: its keys may stand twice."""


def tree(text: str) -> Any:
    """A JSON text whose parts can be exchanged; ValueError when it is none."""
    return json.loads(
        text, object_pairs_hook=Members, parse_int=Token, parse_float=Token, parse_constant=Token
    )


def dumped(node: Any) -> str:
    """The text of a tree."""
    if isinstance(node, Members):
        return "{" + ",".join(f"{json.dumps(key)}:{dumped(own)}" for key, own in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(dumped, node)) + "]"
    return node if isinstance(node, Token) else json.dumps(node)


class Place(NamedTuple):
    """A part of a text, and what stands around it."""

    node: Any
    before: str = ""
    after: str = ""
    key: str = ""
    """of a member of an object, with its colon"""
    members: tuple[str, list[str], int, str] | None = None
    """what stands before its parent's members, all of them, which one it is, what stands behind"""

    def changed(self, text: str) -> bytes:
        """The whole with another text here."""
        return f"{self.before}{text}{self.after}".encode()

    def instead(self, texts: Sequence[str]) -> bytes:
        """The whole with these as members, none or several; of a whole text the first one."""
        if self.members is None:
            return texts[0].encode()
        before, members, at, after = self.members
        own = (self.key + text for text in texts)
        return f"{before}{','.join([*members[:at], *own, *members[at + 1 :]])}{after}".encode()


def places(node: Any) -> list[Place]:
    """Every part of a tree, itself first."""
    return [Place(node), *_below(node, "", "")]


def _below(node: Any, before: str, after: str) -> Iterator[Place]:
    """With the text around each: so a change is one text put together, not a tree written anew."""
    if not isinstance(node, list):
        return
    is_object = isinstance(node, Members)
    keys = [json.dumps(key) + ":" for key, _ in node] if is_object else [""] * len(node)
    owns = [own for _, own in node] if is_object else node
    members = [key + dumped(own) for key, own in zip(keys, owns, strict=True)]
    before, after = before + ("{" if is_object else "["), ("}" if is_object else "]") + after
    for at, (key, own) in enumerate(zip(keys, owns, strict=True)):
        here = before + "".join(f"{one}," for one in members[:at]) + key
        behind = "".join(f",{one}" for one in members[at + 1 :]) + after
        yield Place(own, here, behind, key, (before, members, at, after))
        yield from _below(own, here, behind)


def each_change(frame: bytes) -> Iterator[bytes]:
    """Every frame with exactly one part dropped, doubled, wrapped, renamed or exchanged."""
    try:
        whole = tree(frame.decode())
    except ValueError:
        return
    for place in places(whole):
        own, text = place.node, dumped(place.node)
        yield from map(place.changed, JUNK)
        yield place.changed(f"[{text}]")
        yield place.changed(f'{{"a":{text}}}')
        if isinstance(own, Token):
            yield place.changed(json.dumps(str(own)))
        elif isinstance(own, str):
            yield place.changed(own)
        if place.members is not None:
            yield place.instead([])
            yield place.instead([text, text])
        if isinstance(own, Members):
            yield place.changed(dumped(Members([*own, ("new", Token("1"))])))
            yield place.changed(dumped([one for _, one in own]))
            for n, (_, value) in enumerate(own):
                yield place.changed(dumped(Members([*own[:n], ("", value), *own[n + 1 :]])))


def each_cut(frame: bytes) -> Iterator[bytes]:
    """The frame cut short everywhere, and with a byte that is no text everywhere."""
    for n in range(len(frame)):
        yield frame[:n]
        yield frame[:n] + b"\xff" + frame[n + 1 :]
    yield frame + frame
    yield frame + b"x"
    yield b"\xef\xbb\xbf" + frame
    yield frame.decode(errors="replace").encode("utf-16")


_NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False)).map(repr)
_PUT = st.lists(
    st.one_of(st.sampled_from(JUNK), st.none(), _NUMBERS, _NUMBERS.map(json.dumps)), max_size=2
)
"""What comes into a place: any value, the one that stands there (None), any number."""


@st.composite
def changed(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """One of the frames, changed here and there."""
    frame = draw(st.sampled_from(frames))
    for _ in range(draw(st.integers(1, 3))):
        try:
            whole = tree(frame.decode())
        except (ValueError, RecursionError):
            whole = None
        if whole is None or draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(frame)))
            cut = draw(st.integers(0, 8))
            frame = frame[:at] + draw(st.binary(max_size=4)) + frame[at + cut :]
            continue
        place = draw(st.sampled_from(places(whole)))
        put = [dumped(place.node) if one is None else one for one in draw(_PUT)]
        if put or place.members is not None:
            frame = place.instead(put)
    return frame


def json_texts() -> st.SearchStrategy[bytes]:
    """Any JSON at all."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
    values = st.recursive(
        leaves,
        lambda own: st.one_of(
            st.lists(own, max_size=4), st.dictionaries(st.text(max_size=6), own, max_size=4)
        ),
        max_leaves=12,
    )
    return values.map(lambda value: json.dumps(value).encode())
