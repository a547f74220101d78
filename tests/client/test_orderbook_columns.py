"""What the book kernel takes and what it costs: columns of messages, memory that follows levels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tickbus.book.kernels import levels as kernel
from tickbus.book.orderbook import OrderBook
from tickbus.compiled import cache_dir, forget_old_caches


def apply(book: OrderBook, price: range, size: float) -> None:
    side = np.ones(len(price), np.int8)
    book.apply(side, np.array(price, np.float64), np.full(len(price), size))


def test_columns_may_lie_at_any_address_of_a_message() -> None:
    data = b"x" + np.array([1.5, 2.5]).tobytes()
    price = np.frombuffer(data, "<f8", offset=1)
    assert not price.flags.aligned
    book = OrderBook()
    assert book.apply(np.frombuffer(b"\1\1", "<i1"), price, price).tolist() == [1, 1]
    assert book.best()[:2] == (2.5, 2.5)


def test_columns_of_other_types_are_refused() -> None:
    price: Any = np.ones(1, np.int64)
    with pytest.raises(TypeError, match="price int64"):
        OrderBook().apply(np.ones(1, np.int8), price, np.ones(1))


def test_kernel_refuses_levels_that_were_not_reserved() -> None:
    book = kernel.new()
    side, price = np.ones(5_000, np.int8), np.arange(5_000, dtype=np.float64)
    assert not kernel.has_room(book, side, price, 0, 5_000)
    with pytest.raises(IndexError, match="no room was reserved"):
        kernel.apply(book, side, price, price, np.empty(5_000, np.int8), 0, 5_000)


def test_reserved_levels_find_room_wherever_they_come() -> None:
    """A level in each page, then between them, then in each page once more."""
    book = kernel.new()
    for step in (64, 64, 1):  # 0, 64, ..; then between them; then each block once more
        price = np.arange(0, 64 * 5_000, step, dtype=np.float64)[:20_000] + 1 / step
        side = np.full(len(price), -1, np.int8)
        book = kernel.reserve(book, side, price, 0, len(price))
        kernel.apply(book, side, price, price, np.empty(len(price), np.int8), 0, len(price))
    assert kernel.count(book, -1) == len(kernel.whole(book, -1)[0])


def test_memory_follows_the_levels() -> None:
    book = OrderBook()
    assert len(book.dump()) < book._book.nbytes < 10_000
    apply(book, range(20_000), 1.0)
    assert len(book) == 20_000
    assert book._book.nbytes < 100 * 20_000


def test_memory_does_not_creep_while_prices_wander() -> None:
    book, highest = OrderBook(), 0
    for start in range(0, 60_000, 50):
        apply(book, range(start, start + 200), 1.0)
        apply(book, range(start, start + 50), 0.0)
        highest = max(highest, book._book.nbytes)
    assert len(book) == 150
    assert highest < 64 * 1024


def test_caches_of_earlier_sources_are_removed_once_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    cache_dir.cache_clear()
    current, old, fresh = cache_dir(tmp_path), tmp_path / "kernels-0", tmp_path / "kernels-1"
    for folder in (current, old, fresh):
        folder.mkdir()
    os.utime(old, (0, 0))
    os.utime(current, (0, 0))
    forget_old_caches()
    cache_dir.cache_clear()
    assert sorted(tmp_path.iterdir()) == sorted((current, fresh))


def test_change_of_a_source_gives_kernels_another_cache(tmp_path: Path) -> None:
    """A kernel holds the code of those that it calls, in other files too."""
    (tmp_path / "one.py").write_text("a = 1")
    before = cache_dir(tmp_path)
    (tmp_path / "one.py").write_text("a = 2")
    cache_dir.cache_clear()
    assert cache_dir(tmp_path) != before
