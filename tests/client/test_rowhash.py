"""The row hash: of the rows alone, the same from memory and from a file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from tickbus.lake import manifest, rowhash
from tickbus.lake.dataset_schema import FEEDS, Column, Rows, Text, from_arrow, to_arrow
from tickbus.lake.rowhash import RowHash

from tests.writer.logs import derived_log, market_log
from tests.writer.writing import written

TABLE = (
    Column("seq_id", "int64"),
    Column("id", "int64", True),
    Column("price", "float64", True),
    Column("ok", "bool"),
    Column("text", "string"),
)
numbers = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.booleans(),
        st.text(max_size=5),
    ),
    min_size=1,
    max_size=12,
)


def rows_of(values: list[tuple[Any, ...]]) -> Rows:
    ids, prices, oks, texts = zip(*values, strict=True)
    encoded = [text.encode() for text in texts]
    return {
        "seq_id": np.arange(len(ids)),
        "id": np.array(ids, np.int64),
        "price": np.array(prices),
        "ok": np.array(oks),
        "text": Text(
            np.cumsum([0, *map(len, encoded)], dtype=np.int32),
            np.frombuffer(b"".join(encoded), np.uint8),
        ),
    }


def hashed(*pieces: Rows, exchange: str = "okx", ticker: str = "X") -> str:
    whole = RowHash(TABLE)
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest(exchange, ticker)


def test_the_hash_is_as_it_is_defined() -> None:
    """By hand, from the text at the head of tickbus.lake.rowhash; the constant keeps it so."""
    rows = rows_of([(5, 1.5, True, "a"), (-(2**63), float("nan"), False, "größer")])
    digests = [
        xxhash.xxh3_128_digest(struct.pack("<qq", 0, 1)),
        xxhash.xxh3_128_digest(struct.pack("<qq", 5, -(2**63))),
        xxhash.xxh3_128_digest(struct.pack("<dQ", 1.5, 0x7FF8000000000000)),
        xxhash.xxh3_128_digest(b"\1\0"),
        xxhash.xxh3_128_digest(struct.pack("<ii", 1, 8))
        + xxhash.xxh3_128_digest("agrößer".encode()),
    ]
    whole = b"okx\0X\x002\0"
    for column, digest in zip(TABLE, digests, strict=True):
        whole += f"{column.name}\0{column.type}\0".encode() + digest
    assert hashed(rows) == xxhash.xxh3_128_hexdigest(whole) == "d32395d86ce852a1aaa708abb0976076"


@given(numbers, st.data())
def test_pieces_do_not_matter(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    pieces = [rows_of(part) for part in (values[:cut], values[cut:]) if part]
    start = 0
    for piece in pieces:
        count = len(piece["seq_id"])
        piece["seq_id"] = np.arange(start, start + count)
        start += count
    assert hashed(*pieces) == hashed(rows_of(values))


@given(numbers, numbers)
def test_other_rows_have_another_hash(one: Any, other: Any) -> None:
    same = [repr(row) for row in one] == [repr(row) for row in other]
    assert (hashed(rows_of(one)) == hashed(rows_of(other))) == same


def test_the_ticker_and_the_exchange_count() -> None:
    rows = rows_of([(1, 1.0, True, "")])
    assert len({hashed(rows), hashed(rows, ticker="Y"), hashed(rows, exchange="deribit")}) == 3


@given(numbers)
def test_rows_survive_arrow_to_the_bit(values: list[tuple[Any, ...]]) -> None:
    """A null integer is ABSENT, a null number one certain NaN; -0.0 stays what it is."""
    rows = rows_of(values)
    back = {
        column.name: from_arrow(column, pa.chunked_array([to_arrow(column, rows[column.name])]))
        for column in TABLE
    }
    assert hashed(back) == hashed(rows)


def test_files_have_the_hash_that_their_entry_states(tmp_path: Path) -> None:
    written(tmp_path, market_log(2, 4))
    for kind in ("book", "bar", "feature"):
        written(tmp_path, derived_log(kind), stream=f"{kind.upper()}_X")
    files = manifest.committed_files(tmp_path)
    assert {file.feed for file in files} == {*FEEDS}
    for file in files:
        assert rowhash.of_file(tmp_path / file.path) == file.row_hash


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_encoding_compression_and_row_groups_do_not_matter(
    tmp_path: Path, compression: str
) -> None:
    written(tmp_path, market_log(2, 4))
    file = manifest.committed_files(tmp_path)[0]
    table = pq.ParquetFile(tmp_path / file.path).read()
    path = tmp_path / "other.parquet"
    pq.write_table(table, path, compression=compression, use_dictionary=False, row_group_size=2)
    assert rowhash.of_file(path) == file.row_hash


def test_rows_of_two_tickers_have_no_hash(tmp_path: Path) -> None:
    written(tmp_path, market_log(2, 4))
    tables = [
        pq.ParquetFile(next(tmp_path.glob(f"feed=trade/**/symbol={symbol}/**/*.parquet"))).read()
        for symbol in ("BTCUSDT", "ETH%2FUSDT")
    ]
    pq.write_table(pa.concat_tables(tables), tmp_path / "both.parquet")
    assert rowhash.of_file(tmp_path / "both.parquet") == ""
