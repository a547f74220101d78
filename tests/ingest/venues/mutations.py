"""Frames that no venue sends, made of those that it does: one value, key or byte is another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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


def _changed(node: Any, path: tuple[int, ...], put: Any) -> Any:
    """A copy of the tree in which the parts at `path` are `put` (a list of them)."""
    if not path:
        return put[0]
    at, rest = path[0], path[1:]
    key = node[at][0] if isinstance(node, Members) else None
    own = node[at][1] if key is not None else node[at]
    parts = put if not rest else [_changed(own, rest, put)]
    members = [(key, one) for one in parts] if key is not None else parts
    return type(node)([*node[:at], *members, *node[at + 1 :]])


def _paths(node: Any, here: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Every part of a tree: where it is, and what."""
    yield here, node
    if isinstance(node, list):
        for n, own in enumerate(node):
            yield from _paths(own[1] if isinstance(node, Members) else own, (*here, n))


def each_change(frame: bytes) -> Iterator[bytes]:
    """Every frame with exactly one part dropped, doubled, wrapped, renamed or exchanged."""
    try:
        whole = tree(frame.decode())
    except ValueError:
        return
    for path, own in _paths(whole):
        for junk in JUNK:
            yield dumped(_changed(whole, path, [Token(junk)])).encode()
        yield dumped(_changed(whole, path, [[own]])).encode()
        yield dumped(_changed(whole, path, [Members([("a", own)])])).encode()
        if isinstance(own, Token):
            yield dumped(_changed(whole, path, [str(own)])).encode()
        elif isinstance(own, str):
            yield dumped(_changed(whole, path, [Token(own)])).encode()
        if path:
            yield dumped(_changed(whole, path, [])).encode()
            yield dumped(_changed(whole, path, [own, own])).encode()
        if isinstance(own, Members):
            yield dumped(_changed(whole, path, [Members([*own, ("new", Token("1"))])])).encode()
            yield dumped(_changed(whole, path, [[one for _, one in own]])).encode()
            for n, (_, value) in enumerate(own):
                renamed = Members([*own[:n], ("", value), *own[n + 1 :]])
                yield dumped(_changed(whole, path, [renamed])).encode()


def each_cut(frame: bytes) -> Iterator[bytes]:
    """The frame cut short everywhere, and with a byte that is no text everywhere."""
    for n in range(len(frame)):
        yield frame[:n]
        yield frame[:n] + b"\xff" + frame[n + 1 :]
    yield frame + frame
    yield frame + b"x"
    yield b"\xef\xbb\xbf" + frame
    yield frame.decode(errors="replace").encode("utf-16")


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
        path, own = draw(st.sampled_from(list(_paths(whole))))
        junk = st.sampled_from(JUNK).map(Token)
        put = draw(st.lists(st.one_of(junk, st.just(own), numbers()), max_size=2))
        if path or put:
            frame = dumped(_changed(whole, path, put or [own])).encode()
    return frame


def numbers() -> st.SearchStrategy[Token]:
    """Any number, as a number or in a text."""
    plain = st.one_of(st.integers(), st.floats(allow_nan=False)).map(repr)
    return st.one_of(plain, plain.map(json.dumps)).map(Token)


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
