"""Price levels: the kernel, a full JSON decoder and plain arithmetic say the same of any text."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tickbus_ingest.session.levels import LevelColumns, read_levels
from tickbus_ingest.venue.contract import Levels

PAIRS = Levels()
ACTIONS = Levels(1, 2)
OBJECTS = Levels("px", "sz")
SIDED = Levels("price_level", "new_quantity", "side", "bid", "offer")
SIGNED = Levels(0, 2, count=1)
SHAPES = pytest.mark.parametrize(
    "shape",
    [PAIRS, ACTIONS, OBJECTS, SIDED, SIGNED],
    ids=["pairs", "actions", "objects", "sided", "signed"],
)
MANY = settings(max_examples=300)

# ------------------------------------------------------------------ what is drawn


@st.composite
def decimals(draw: st.DrawFn) -> str:
    """A decimal number as venues write them: few digits or many, an exponent, zeros behind."""
    digits = draw(st.one_of(st.integers(0, 10**6), st.integers(0, 10**17), st.integers(0, 10**40)))
    text = format(Decimal(digits).scaleb(-draw(st.integers(0, 30))), "f")
    if "." in text:
        text += "0" * draw(st.integers(0, 6))
    if draw(st.booleans()) and draw(st.booleans()):
        sign = draw(st.sampled_from(("", "-", "+")))
        text += draw(st.sampled_from("eE")) + sign + str(draw(st.integers(0, 40)))
    return ("-" if draw(st.integers(0, 9)) == 0 else "") + text


BLANKS = st.sampled_from(("", "", "", " ", "\n", "\t ", "  "))
EXTRAS = st.sampled_from(("0", '"0"', '"4"', "null", "true", "-1.5e3", '"a b"', '"\\u0041"', "[1]"))


@st.composite
def number_texts(draw: st.DrawFn) -> tuple[str, float]:
    """A number in JSON, in a text or not, and its value."""
    plain = draw(decimals())
    return (f'"{plain}"' if draw(st.booleans()) else plain), float(plain)


@st.composite
def arrays(draw: st.DrawFn, shape: Levels) -> tuple[str, float, float]:
    (price, price_value), (size, size_value) = draw(number_texts()), draw(number_texts())
    assert isinstance(shape.price, int)
    parts = [draw(EXTRAS) for _ in range(shape.price)] + [price, size]
    parts += draw(st.lists(EXTRAS, max_size=3))
    return (
        f"[{draw(BLANKS)}{f'{draw(BLANKS)},{draw(BLANKS)}'.join(parts)}]",
        price_value,
        size_value,
    )


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, float, float]:
    (price, price_value), (size, size_value) = draw(number_texts()), draw(number_texts())
    members = [f'"px"{draw(BLANKS)}:{draw(BLANKS)}{price}', f'"sz":{size}']
    members += [
        f'"{key}":{draw(EXTRAS)}' for key in draw(st.sets(st.sampled_from("npxs"), max_size=3))
    ]
    members = draw(st.permutations(members))
    return f"{{{draw(BLANKS)}{f'{draw(BLANKS)},'.join(members)}}}", price_value, size_value


@st.composite
def sided(draw: st.DrawFn) -> tuple[str, int, float, float]:
    """A level that names its side, among other keys, short ones and long ones."""
    (price, price_value), (size, size_value) = draw(number_texts()), draw(number_texts())
    word, side = draw(st.sampled_from((("bid", 1), ("offer", -1), ("\\u0062id", 1))))
    members = [f'"price_level":{price}', f'"new_quantity"{draw(BLANKS)}:{size}']
    members.append(f'"side"{draw(BLANKS)}:{draw(BLANKS)}"{word}"')
    keys = st.sampled_from(
        ("event_time", "price_levels", "sid", "sides", "new_quantit", "Side", "")
    )
    extras = EXTRAS | st.just('"2026-08-24T22:34:13.483122Z"')
    members += [f'"{key}":{draw(extras)}' for key in draw(st.sets(keys, max_size=3))]
    text = f"{draw(BLANKS)},".join(draw(st.permutations(members)))
    return f"{{{text}}}", side, price_value, size_value


@st.composite
def sides(draw: st.DrawFn, shape: Levels) -> tuple[bytes, list[tuple[float, float]]]:
    """The text of one side, and its levels."""
    levels = draw(st.lists(objects() if shape is OBJECTS else arrays(shape), max_size=4))
    text = f"{draw(BLANKS)},{draw(BLANKS)}".join(text for text, _, _ in levels)
    whole = f"{draw(BLANKS)}[{draw(BLANKS)}{text}{draw(BLANKS)}]{draw(BLANKS)}".encode()
    return whole, [(price, size) for _, price, size in levels]


def rows(found: LevelColumns, update: int) -> list[tuple[int, float, float]]:
    own = slice(int(found.ends[update]), int(found.ends[update + 1]))
    columns = found.side[own].tolist(), found.price[own].tolist(), found.qty[own].tolist()
    return list(zip(*columns, strict=True))


def bids_first(levels: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """The bids in their order, then the asks in theirs."""
    return sorted(levels, key=lambda level: -level[0])


# ------------------------------------------------------------------------ questions


@pytest.mark.parametrize("shape", [PAIRS, ACTIONS, OBJECTS], ids=["pairs", "actions", "objects"])
@MANY
@given(data=st.data())
def test_levels_of_any_shape_are_the_nearest_doubles_in_their_order(
    shape: Levels, data: st.DataObject
) -> None:
    books = data.draw(st.lists(st.tuples(sides(shape), sides(shape)), min_size=1, max_size=3))
    found = read_levels([text for pair in books for text, _ in pair], shape)
    for n, ((_, bids), (_, asks)) in enumerate(books):
        expected = [(1, *level) for level in bids] + [(-1, *level) for level in asks]
        if any(math.isinf(value) for _, *values in expected for value in values):
            assert n in found.refused
            expected = []
        else:
            assert n not in found.refused, found.refused
        assert rows(found, n) == expected


@MANY
@given(decimals(), decimals())
def test_a_number_in_a_text_is_the_number(price: str, size: str) -> None:
    quoted = read_levels([f'[["{price}","{size}"]]'.encode(), b"[]"], PAIRS)
    bare = read_levels([f"[[{price},{size}]]".encode(), b"[]"], PAIRS)
    assert rows(quoted, 0) == rows(bare, 0) == [(1, float(price), float(size))]


@given(st.integers(0, 2**53 - 1), st.integers(0, 22))
def test_what_a_double_gives_back_is_given_back(digits: int, places: int) -> None:
    text = format(Decimal(digits).scaleb(-places), "f")
    found = read_levels([f'[["{text}","0.10"]]'.encode(), b""], PAIRS)
    assert found.price.tolist() == [float(text)]
    if len(str(digits)) <= 15:
        assert Decimal(repr(found.price.tolist()[0])) == Decimal(text)
        assert found.long_decimals == 0


@pytest.mark.parametrize(
    ("text", "is_long"),
    [
        ("0.1", 0), ("123456789012345", 0), ("1234567890.123450", 0), ("1234567890.1234500000", 0),
        ("1234567890.123456", 1), ("123456789012345678901234567890", 1),
        ("0.000000000000000012345678901234567", 1), ("100000000000000000000", 1), ("0e99", 0),
        ("1e-8", 0), ("000000000000000.1", None), ("0.00000000000000000000", 0),
    ],
)  # fmt: skip
def test_numbers_of_more_than_15_digits_are_counted(text: str, is_long: int | None) -> None:
    found = read_levels([f'[["{text}","1"]]'.encode(), b"[]"], PAIRS)
    if is_long is None:
        assert rows(found, 0) in ([], [(1, float(text), 1.0)])
        return
    assert rows(found, 0) == [(1, float(text), 1.0)]
    assert found.long_decimals == is_long


@MANY
@given(st.lists(st.lists(sided(), max_size=5), min_size=1, max_size=3))
def test_levels_that_name_their_side_are_read_from_one_list_bids_first(
    books: list[list[tuple[str, int, float, float]]],
) -> None:
    texts = [f"[{','.join(text for text, *_ in book)}]".encode() for book in books]
    found = read_levels([one for text in texts for one in (text, b"")], SIDED)
    for n, book in enumerate(books):
        expected = bids_first([(side, price, size) for _, side, price, size in book])
        if any(math.isinf(value) for _, *values in expected for value in values):
            assert n in found.refused
            expected = []
        else:
            assert n not in found.refused, found.refused
        assert rows(found, n) == expected


@st.composite
def signed(draw: st.DrawFn) -> tuple[str, int, float, float]:
    """A level of price, number of orders and signed size; one of no orders is removed."""
    (price, price_value), (size, size_value) = draw(number_texts()), draw(number_texts())
    count = draw(st.sampled_from(("0", "1", "12", '"3"', "2.0", "1e2")))
    parts = [price, count, size, *draw(st.lists(EXTRAS, max_size=2))]
    is_gone = count == "0"
    return (
        f"[{f'{draw(BLANKS)},{draw(BLANKS)}'.join(parts)}]",
        1 if size_value > 0 else -1,
        price_value,
        # The sign is told where nothing but it is: no level has neither side nor size.
        math.nan if size_value == 0 else 0.0 if is_gone else abs(size_value),
    )


@MANY
@given(st.lists(st.lists(signed(), max_size=5), min_size=1, max_size=3))
def test_the_sign_of_a_size_tells_its_side_and_a_count_of_0_removes(
    books: list[list[tuple[str, int, float, float]]],
) -> None:
    texts = [f"[{','.join(text for text, *_ in book)}]".encode() for book in books]
    found = read_levels([one for text in texts for one in (text, b"")], SIGNED)
    for n, book in enumerate(books):
        expected = bids_first([(side, price, size) for _, side, price, size in book])
        if not all(math.isfinite(value) for _, *values in expected for value in values):
            assert n in found.refused
            expected = []
        else:
            assert n not in found.refused, found.refused
        assert rows(found, n) == expected


@pytest.mark.parametrize(
    "level", ["[1,1,0]", "[1,-1,2]", "[1,2]", "[1,null,2]", "[1]", "[]", "[1,[1],2]"]
)
def test_a_level_of_neither_side_refuses_its_update_alone(level: str) -> None:
    good = b"[[2,1,-3],[1,2,4]]"
    found = read_levels([good, b"", f"[[1,1,1],{level}]".encode(), b"", good, b""], SIGNED)
    assert list(found.refused) == [1]
    assert rows(found, 0) == rows(found, 2) == [(1, 1.0, 4.0), (-1, 2.0, 3.0)]
    assert rows(found, 1) == []


@pytest.mark.parametrize("word", ['"ask"', '"Bid"', '""', "1", "null", '["bid"]', '"bid "', '"bi'])
def test_a_word_that_names_no_side_refuses_its_update_alone(word: str) -> None:
    good = b'[{"Side":"Sell","p":"1","q":"2"},{"Side":"Buy","p":"3","q":"4"}]'
    bad = f'[{{"Side":"Buy","p":1,"q":2}},{{"p":1,"q":2,"Side":{word}}}]'.encode()
    found = read_levels([good, b"", bad, b"", good, b""], Levels("p", "q", "Side", "Buy", "Sell"))
    assert list(found.refused) == [1]
    assert rows(found, 0) == rows(found, 2) == [(1, 3.0, 4.0), (-1, 1.0, 2.0)]
    assert rows(found, 1) == []


def test_an_update_whose_text_only_a_full_decoder_reads_keeps_its_sides() -> None:
    plain = b'[{"s":"offer","p":"2","q":"1"},{"s":"bid","p":"1","q":"1"}]'
    escaped = b'[{"s":"o\\u0066fer","p":"4","q":"1"},{"s":"bid","p":"3","q":"1"}]'
    found = read_levels([plain, b"", escaped, b"", plain, b""], Levels("p", "q", "s"))
    assert not found.refused
    assert rows(found, 0) == rows(found, 2) == [(1, 1.0, 1.0), (-1, 2.0, 1.0)]
    assert rows(found, 1) == [(1, 3.0, 1.0), (-1, 4.0, 1.0)]


WRONG = (
    "{}", "null1", "[", "]", "[[", "[[1,2]", "[[1,2],]", "[,]", "[[1,2]]]", "[[1,2]] x", "[1,2]",
    "[[1]]", "[[]]", "[null]", '[["1"]]', '[["1",]]', '[["1" "2"]]', '[["a","1"]]', '[["1","a"]]',
    '[["","1"]]', '[["NaN","1"]]', "[[NaN,1]]", '[["Infinity","1"]]', '[["1","-inf"]]',
    '[["1e400","1"]]', '[["1_0","1"]]', '[["0x1","1"]]', '[["1,5","1"]]', '[[" 1","1"]]',
    '[["1 ","1"]]', '[["+1","1"]]', '[[".5","1"]]', '[["5.","1"]]', '[["1e","1"]]', '[["٣","1"]]',
    '[[true,"1"]]', "[[1,false]]", "[[null,1]]", "[[[1],2]]", '[[{"a":1},2]]', '[[1,2}]',
    "[[1,2],{}]", '[{"px":1,"sz":2}]', "[[1,2],3]", '"[[1,2]]"', "1", "nonsense", '[["1","2"',
    "[[1,2]\x00]", "[[1;2]]", "[['1','2']]", '[["\\u0031a","2"]]', '[["1","1e999999999999"]]',
    '[["1","' + "9" * 400 + '"]]', "[[" + "9" * 400 + ",1]]", "[" * 3000, "[[01,2]]", "[[1,2,]]",
)  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_list_of_levels_is_refused_with_a_reason_and_by_itself(text: str) -> None:
    good = b'[["1","2"]]'
    found = read_levels([good, b"[]", good, text.encode(), good, good], PAIRS)
    assert list(found.refused) == [1]
    assert found.refused[1]
    assert rows(found, 0) == [(1, 1.0, 2.0)]
    assert rows(found, 1) == []
    assert rows(found, 2) == [(1, 1.0, 2.0), (-1, 1.0, 2.0)]


@pytest.mark.parametrize(
    "text",
    ['[{"px":1}]', '[{"sz":1}]', "[[1,2]]", '[{"px":[1],"sz":1}]', '[{"Px":1,"sz":2}]', "[{}]"],
)
def test_objects_without_both_keys_are_refused(text: str) -> None:
    assert list(read_levels([text.encode(), b"[]"], OBJECTS).refused) == [0]


@pytest.mark.parametrize("text", [b"", b" ", b"[]", b" [ ] ", b"null"])
def test_a_side_without_levels_is_empty(text: bytes) -> None:
    for shape in (PAIRS, ACTIONS, OBJECTS, SIDED):
        found = read_levels([text, text], shape)
        assert not found.refused
        assert len(found.price) == 0


PIECES = st.sampled_from(
    ['"', "[", "]", "{", "}", ",", ":", "1", "0", ".5", "-", "e3", '"1"', '"px":', '"sz":2', " ",
     "null", "\\", "[1,2]", '["1","2"]', '{"px":"1","sz":2}', "true", "9" * 17]
)  # fmt: skip


SIDED_PIECES = st.sampled_from(
    ['"', "[", "]", "{", "}", ",", ":", "1", '"1"', '"price_level":', '"new_quantity":2', '"side":',
     '"bid"', '"offer"', '"Bid"', '"bid', '"side":"bid"', '"side":"offer"', '"price_level":"1"',
     '{"side":"bid","price_level":"1","new_quantity":"2"}', '"event_time":"2026-08-24T22:34:13Z"',
     '{"new_quantity":2,"event_time":"2026-08-24T22:34:13Z","price_level":1,"side":"offer"}',
     '{"side":"ask","price_level":1,"new_quantity":2}', '{"price_level":1,"new_quantity":2}', "\\",
     '"a long string with a \\" in it"', '"a long string with a \n in it"', '"side":1',
     "null", " "]
)  # fmt: skip


@SHAPES
@MANY
@example(pieces=["[", "[1,2]", ",", "[1,2]", "]"])
@example(pieces=['[{"price_level":1,"new_quantity":2,"side":"bid","side":"offer"}]'])
@example(pieces=['[{"price_level":1,"new_quantity":2,"side":"bid', "x" * 40, '"}]'])
@given(pieces=st.lists(PIECES, max_size=12) | st.lists(SIDED_PIECES, max_size=12))
def test_the_kernel_takes_no_more_and_no_less_than_a_json_decoder(
    shape: Levels, pieces: list[str]
) -> None:
    text = "".join(pieces)
    found = read_levels([text.encode(), b"[]"], shape)
    expected = plainly(text, shape)
    assert (0 in found.refused) == (expected is None), found.refused
    assert rows(found, 0) == (expected or [])


DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def plainly(text: str, shape: Levels) -> list[tuple[int, float, float]] | None:
    """The same by Python's own JSON decoder; None for what is no list of levels."""
    if not text.strip():
        return []
    try:
        levels = json.loads(text)
        if not isinstance(levels, list):
            return None if levels is not None else []
        own = [
            (level[shape.side] if shape.side else "bid", level[shape.price], level[shape.size])
            for level in levels
        ]
    except (ValueError, TypeError, LookupError):
        return None
    for value in [value for _, *pair in own for value in pair]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and DECIMAL.fullmatch(value)):
            return None
    if any(word not in ("bid", "offer") for word, _, _ in own):
        return None
    sides = {"bid": 1, "offer": -1}
    return bids_first([(sides[word], float(price), float(size)) for word, price, size in own])
