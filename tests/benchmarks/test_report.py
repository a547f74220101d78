"""What `tickbus bench` prints: pass or miss, what stands beside a value, and the notes that fit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tickbus_bench import peers
from tickbus_bench.command import BENCHMARKS, WITH_PEERS, facts, text
from tickbus_bench.target import Target, of_runs

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.mark.parametrize(
    ("value", "at_least", "passes"),
    [(30.0, False, True), (30.1, False, False), (30.0, True, True), (29.9, True, False)],
)
def test_a_value_passes_up_to_its_bound_and_with_it(
    value: float, at_least: bool, passes: bool
) -> None:
    target = Target("x", value, "ns", 30.0, at_least)
    assert target.passes is passes
    assert target.as_json()["pass"] is passes


def test_a_target_is_shown_with_its_spread_and_what_stands_beside_it() -> None:
    target = Target(
        "book.x", unit="ns", target=30, at_least=False, limit="bare 20 ns", peer="other 90 ns",
        notes={"messages": 7}, **of_runs([40.0, 10.0, 20.0]),
    )  # fmt: skip
    first, *beside = text(target).splitlines()
    assert first == "  pass book.x: 20 ns [10..40] (<= 30)"
    assert [line.strip() for line in beside] == ["bare 20 ns", "other 90 ns", "messages 7"]


def test_single_facts_share_a_line_groups_have_their_own_and_lists_are_for_json() -> None:
    notes = {"runs": [1, 2, 3], "frames": 93_954, "MiB": {"book": 158, "writer": 201.26}, "us": 2.5}
    assert facts(notes) == ["frames 93954, us 2.5", "MiB: book 158, writer 201.3"]
    assert facts({"runs": [1, 2, 3]}) == facts({}) == []


def test_a_peer_is_said_with_version_and_unit_or_with_its_reason() -> None:
    assert peers.said("order-book", {"median": 161.6, "version": "0.6.1"}) == (
        "order-book 0.6.1: 162 ns a level, update only"
    )
    assert peers.said("order-book", {"error": "ImportError: x"}) == "order-book: ImportError: x"


def test_every_figure_of_the_peers_has_a_unit_and_a_file() -> None:
    tree = ast.parse((PEERS / "measure.py").read_text())
    (figures,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIGURES"
    ]
    assert set(figures) == set(peers.UNITS) >= set(peers.BOOKS)
    assert all((PEERS / f"{module}.py").exists() for _, module, _ in figures.values())
    assert set(BENCHMARKS) >= WITH_PEERS
