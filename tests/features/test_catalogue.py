"""The language of features and what the catalogue promises."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_features.catalogue import CATALOGUE, LAYER_1, Catalogue, Feature
from tickbus_features.evaluate import evaluate
from tickbus_features.expression import Column, Expression, translate

PROMISED = (
    *("mid", "spread", "spread_bps", "weighted_mid", "ofi", "ofi_10", "returns"),
    *(f"imbalance_{levels}" for levels in (1, 5, 10)),
    *(f"liquidity_{levels}" for levels in (1, 5, 10)),
    *(f"queue_imb_{level}" for level in range(1, 6)),
    *(f"volatility_{buckets}" for buckets in (20, 100)),
)
X = Column("x")


def values_of(
    expression: Expression, rows: list[float], resets: set[int] | None = None
) -> list[float]:
    """An expression over a column `x`, row by row; windows begin anew at `resets`."""
    program = translate(["x"], [("y", expression)])
    values, stack = np.zeros(2), np.zeros(program.stack)
    history = np.zeros((program.rows, max(1, int(program.tracked.max()) + 1)))
    found, age = [], 0
    for place, x in enumerate(rows):
        age = 1 if resets and place in resets else age + 1
        values[0] = x
        evaluate(program.steps, program.constants, program.tracked, values, stack, history, age)
        found.append(float(values[1]))
    return found


def book_features(bid_px: float, bid_sz: float, ask_px: float, ask_sz: float) -> dict[str, float]:
    """What the catalogue says of a book with one level a side."""
    program = Catalogue(grace_us=100_000).program
    values = np.zeros(len(LAYER_1) + len(CATALOGUE))
    for name, value in (
        ("bid_px_1", bid_px),
        ("bid_sz_1", bid_sz),
        ("ask_px_1", ask_px),
        ("ask_sz_1", ask_sz),
    ):
        values[LAYER_1.index(name)] = value
    history = np.zeros((program.rows, int(program.tracked.max()) + 1))
    stack = np.zeros(program.stack)
    evaluate(program.steps, program.constants, program.tracked, values, stack, history, 1)
    names = [entry.name for entry in CATALOGUE]
    return dict(zip(names, values[len(LAYER_1) :].tolist(), strict=True))


def test_the_worked_example_of_the_older_system_comes_out_right() -> None:
    found = book_features(43250.50, 2.5, 43251.00, 1.8)
    assert found["mid"] == 43250.75
    assert found["spread"] == 0.50
    assert round(found["spread_bps"], 4) == 0.1156  # it printed 1.16
    assert round(found["imbalance_1"], 4) == 0.1628
    assert found["queue_imb_1"] == found["imbalance_1"]
    assert round(found["weighted_mid"], 4) == 43250.7907  # it printed 43250.66
    assert found["liquidity_1"] == 4.3


def test_every_promised_feature_is_published_once() -> None:
    assert sorted(Catalogue(grace_us=0).names) == sorted(PROMISED)


def test_warm_up_follows_from_the_expression() -> None:
    needed = Catalogue(grace_us=0).rows_needed
    assert needed["mid"] == needed["ofi"] == 1
    assert needed["returns"] == 2
    assert needed["ofi_10"] == 10
    assert needed["volatility_20"] == 21
    assert needed["volatility_100"] == 101


def test_the_hash_names_the_meaning() -> None:
    plain = Catalogue(grace_us=100_000)
    assert plain.hash == Catalogue(grace_us=100_000).hash
    assert plain.hash != Catalogue(grace_us=200_000).hash
    other = (*CATALOGUE, Feature("mid_mean_5", Column("mid").mean(5), "quote", "mean mid"))
    assert plain.hash != Catalogue(other, grace_us=100_000).hash


def test_a_new_feature_is_one_entry() -> None:
    entry = Feature("momentum_2", Column("mid") / Column("mid").shift(2) - 1, "1", "of mid")
    catalogue = Catalogue((*CATALOGUE, entry), grace_us=0)
    assert catalogue.names[-1] == "momentum_2"
    assert catalogue.rows_needed["momentum_2"] == 3


def test_a_name_may_stand_once_and_must_be_known() -> None:
    with pytest.raises(ValueError, match="mid: named twice"):
        translate(["x"], [("mid", X), ("mid", X)])
    with pytest.raises(ValueError, match="nothing: neither"):
        translate(["x"], [("y", Column("nothing") + 1)])
    with pytest.raises(ValueError, match="a window of at least 2"):
        X.deviation(1)


def test_a_window_is_null_until_it_is_full() -> None:
    rows = [1.0, 2.0, 4.0, 8.0]
    assert values_of(X.sum(3), rows)[2:] == [7.0, 14.0]
    assert all(map(math.isnan, values_of(X.sum(3), rows)[:2]))
    assert values_of(X.mean(2), rows)[1:] == [1.5, 3.0, 6.0]
    assert math.isnan(values_of(X.shift(1), rows)[0])
    assert values_of(X.shift(1), rows)[1:] == [1.0, 2.0, 4.0]


def test_a_reset_empties_windows_and_shifts() -> None:
    found = values_of(X.sum(2) + X.shift(1), [1.0, 2.0, 3.0, 4.0, 5.0], resets={3})
    assert [math.isnan(value) for value in found] == [True, False, False, True, False]
    assert found[4] == 9.0 + 4.0


def test_null_in_gives_null_out_and_leaves_with_its_window() -> None:
    found = values_of(X.sum(2), [1.0, math.nan, 3.0, 4.0])
    assert [math.isnan(value) for value in found] == [True, True, True, False]


def test_division_by_zero_and_logarithm_of_nothing_are_null() -> None:
    assert all(map(math.isnan, values_of(1 / X, [0.0, -0.0])))
    assert all(map(math.isnan, values_of(X.log(), [0.0, -1.0])))


def test_operators_keep_their_order() -> None:
    assert values_of((10 - X) / 2 - X * 3 + 1, [4.0]) == [(10 - 4) / 2 - 4 * 3 + 1]


finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=2, max_size=60), st.integers(2, 20))
def test_deviation_is_the_sample_standard_deviation(rows: list[float], window: int) -> None:
    for place, value in enumerate(values_of(X.deviation(window), rows)):
        last = rows[max(0, place - window + 1) : place + 1]
        if len(last) < window:
            assert math.isnan(value)
        else:
            assert math.isclose(value, statistics.stdev(last), rel_tol=1e-9, abs_tol=1e-6)


@given(st.lists(finite, min_size=30, max_size=60), st.integers(1, 20))
def test_a_window_depends_on_its_own_rows_alone(rows: list[float], window: int) -> None:
    """Bit for bit: what lies before the window leaves no rounding behind."""
    whole = values_of(X.sum(window), rows)
    tail = values_of(X.sum(window), rows[-window:])
    assert whole[-1] == tail[-1]
