"""The lives of restarted processes add up to one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tickbus.lake.manifest import DataFile
from tickbus_runtime.local.lives import Lives, split_labels
from tickbus_runtime.local.progress import Progress
from tickbus_runtime.local.run_report import (
    VenueFacts,
    nothing_received,
    run_report,
    shortcomings,
    summary,
)
from tickbus_runtime.telemetry.metrics import Telemetry


def status(service: str, pid: int, started: float, **facts: Any) -> dict[str, Any]:
    return {"service": service, "pid": pid, "started": started, **facts}


def ingest_life(pid: int, frames: int, trades: int, us: float) -> dict[str, Any]:
    telemetry = Telemetry("ingest")
    telemetry.count("frames", frames, source="websocket")
    telemetry.count("frames", 1, source="rest")
    telemetry.count("frames", 1, source="instruments")
    telemetry.count("requests")
    telemetry.count("control_frames", 2)
    telemetry.count("events", trades, feed="trade")
    telemetry.count("rejects", 2, reason="malformed")
    telemetry.count("gaps", feed="l2")
    telemetry.latency("ingest").observe(us)
    return status("ingest", pid, float(pid), **telemetry.status())


def test_a_newer_look_at_a_life_replaces_and_a_new_life_adds() -> None:
    lives = Lives()
    lives.update(ingest_life(10, frames=5, trades=2, us=100))
    lives.update(ingest_life(10, frames=7, trades=3, us=100))
    assert lives.by_label("frames", "source") == {"instruments": 1, "rest": 1, "websocket": 7}
    lives.update(ingest_life(11, frames=100, trades=40, us=900))
    assert lives.by_label("frames", "source") == {"instruments": 2, "rest": 2, "websocket": 107}
    assert lives.sum("events") == 43
    assert lives.latencies()["ingest"].count == 2


def test_positions_of_a_life_say_nothing_about_the_next() -> None:
    lives = Lives()
    assert lives.position("book", "MD_X", 1) == 0
    lives.update(status("book", 1, 1.0, positions={"MD_X": 50}))
    assert lives.position("book", "MD_X", 1) == 50
    assert lives.position("book", "MD_X", 2) == 0
    assert lives.position("book", "MD_X", None) == 0


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("checkpoints", ("checkpoints", {})),
        ("frames{source=rest}", ("frames", {"source": "rest"})),
        ("a{b=c,d=e=f}", ("a", {"b": "c", "d": "e=f"})),
    ],
)
def test_keys_of_counters_are_read_back(key: str, parts: tuple[str, dict[str, str]]) -> None:
    assert split_labels(key) == parts


def file(feed: str, rows: int) -> DataFile:
    """A committed file; what the report does not look at is empty."""
    empty: dict[str, Any] = {
        field.name: 0 if field.type in (int, "int") else ""
        for field in msgspec.structs.fields(DataFile)
    }
    return DataFile(**{**empty, "feed": feed, "rows": rows, "size": 1_000})


def test_the_report_counts_frames_rows_and_time_and_is_json() -> None:
    lives = Lives()
    first, second = ingest_life(10, 5, 2, 100), ingest_life(11, 6, 3, 100)
    lives.update(first | {"first_frame_ns": 10_000_000_000})
    lives.update(second | {"first_frame_ns": 20_000_000_000})
    lives.update(status("writer", 3, 1.0, last_commit_ns=31_500_000_000))
    result = run_report(
        lives,
        [file("trade", 5), file("l2", 700), file("trade", 1)],
        {"MD_BINANCE_USDM": 20},
        data_dir=Path("/data"),
        startup_seconds=2.5,
        elapsed_seconds=99.0,
        restarts=1,
    )
    # One answer to a subscription of ours in each life is no frame of the venue's data.
    assert result["frames"] == 11 + 2 - 2
    assert (result["frames_websocket"], result["rest_bodies"]) == (9, 2)
    assert result["events"] == {"trade": 5}
    assert result["rows"] == {"l2": 700, "trade": 6}
    assert (result["files"], result["bytes"]) == (3, 3_000)
    assert (result["gaps"], result["rejects"]) == (2, 4)
    assert result["rejects_by_reason"] == {"malformed": 4}
    assert result["seconds"] == 21.5
    assert result["latency_us"]["ingest"]["count"] == 2
    assert json.loads(json.dumps(result)) == result
    text = "\n".join(summary(result))
    assert "11 frames (9 WebSocket, 2 REST) in 21.50 s, 2 gaps, 4 rejects" in text
    assert "706 rows in 3 files" in text
    assert "1 restart(s)" in text


def report(*lives_of_ingest: dict[str, Any], told_all: bool = True) -> dict[str, Any]:
    lives = Lives()
    for life in lives_of_ingest:
        lives.update(life)
    return run_report(
        lives, [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0,
        venues={"okx": VenueFacts(told_all=told_all)},
    )  # fmt: skip


def test_the_report_says_what_became_of_every_frame() -> None:
    one = {"received": 10, "published": 5, "ignored": 2, "control": 3}
    other = {"received": 7, "published": 6, "waiting": 1}
    result = report(
        ingest_life(10, 10, 5, 1) | {"frames": one, "refusals": {"not\x1b JSON": 2}},
        ingest_life(11, 7, 6, 1) | {"frames": other, "refusals": {"not\x1b JSON": 1}},
    )
    # Two control frames answer requests of ours.
    assert result["fates"] == {"published": 11, "ignored": 2, "control": 1, "waiting": 1}
    assert result["accounted"]
    assert sum(result["fates"].values()) == result["frames_websocket"]
    text = "\n".join(summary(result))
    assert "frames: 11 published + 2 ignored + 1 control + 1 waiting" in text
    assert "refused 3 times: not\\x1b JSON" in text
    assert shortcomings(result) == []


def test_of_a_life_that_died_the_newest_counts_are_taken_and_the_sum_is_not_vouched_for() -> None:
    telemetry = Telemetry("ingest")
    telemetry.count("frames", 9, source="websocket")
    telemetry.count("fates", 8, fate="published")
    telemetry.count("fates", 1, fate="stale")
    # Once a second a life says what became of its frames; its counters are of this moment.
    old = {"received": 5, "published": 4, "stale": 0, "waiting": 1}
    died = status("ingest", 10, 10.0, **telemetry.status(), frames=old)
    young = status("ingest", 12, 12.0, **telemetry.status())
    ended = {"received": 7, "published": 7}
    result = report(died, ingest_life(11, 7, 5, 1) | {"frames": ended}, young, told_all=False)
    assert result["fates"] == {"published": 8 + 7 + 8, "stale": 2, "waiting": 1}
    assert result["accounted"] is None
    assert shortcomings(result) == []
    assert "what became of its last frames cannot be told" in "\n".join(summary(result))


def test_frames_that_do_not_add_up_are_a_shortcoming() -> None:
    wrong = {"received": 10, "published": 5}
    result = report(ingest_life(10, 10, 5, 1) | {"frames": wrong})
    assert not result["accounted"]
    assert "do not add up" in shortcomings(result)[0]


def test_updates_without_a_snapshot_are_a_shortcoming() -> None:
    result = report(status("ingest", 1, 1.0, books_without_snapshot={"BTCUSDT": 600}))
    (line,) = shortcomings(result)
    assert line == "600 updates of BTCUSDT are not stored: no snapshot came for them"
    assert line in summary(result)


@pytest.mark.parametrize(("frames", "why"), [(0, "silent\x1b"), (0, ""), (5, "silent\x1b")])
def test_a_run_that_received_nothing_says_why_unless_nothing_was_expected(
    frames: int, why: str
) -> None:
    lives, telemetry = Lives(), Telemetry("ingest")
    telemetry.count("frames", frames, source="websocket")
    telemetry.count("frames", 1, source="instruments")
    lives.update(status("ingest", 1, 1.0, **telemetry.status()))
    result = run_report(
        lives, [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0,
        venues={"okx": VenueFacts(why_silent=why)},
    )  # fmt: skip
    silent = bool(why) and not frames
    assert result["nothing_received"] == (why if silent else None)
    lines = ["nothing was received: silent\\x1b"] * silent
    assert nothing_received(result) == shortcomings(result) == lines
    assert ("nothing was received" in "\n".join(summary(result))) is silent


def test_a_run_that_understood_nothing_received_nothing_whatever_books_came_over_rest() -> None:
    lives, telemetry = Lives(), Telemetry("ingest")
    telemetry.count("frames", 7, source="websocket")
    telemetry.count("frames", 2, source="rest")
    telemetry.count("events", 2, feed="l2")
    fates = {"received": 9, "refused": 7, "published": 2}
    lives.update(status("ingest", 1, 1.0, frames=fates, **telemetry.status()))
    result = run_report(
        lives, [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0,
        venues={"okx": VenueFacts(why_silent="see a log")},
    )  # fmt: skip
    assert nothing_received(result) == [
        "nothing was received: each of 7 frames was refused; see a log"
    ]


def test_lines_of_a_capture_that_cannot_be_read_are_a_shortcoming() -> None:
    result = run_report(
        Lives(), [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0,
        venues={"okx": VenueFacts(bad_lines=6)},
    )  # fmt: skip
    assert result["bad_lines"] == 6
    assert shortcomings(result) == ["6 lines of the capture cannot be read"]


def test_frames_and_bodies_that_fit_nowhere_are_named_where_there_are_any() -> None:
    def told(**odd: int) -> str:
        result = run_report(
            Lives(), [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0,
            venues={"": VenueFacts(odd_parts=odd)},
        )  # fmt: skip
        assert {name: result[name] for name in odd} == odd
        assert shortcomings(result) == []
        return "\n".join(summary(result))

    assert "1,234 frames of the capture do not tell whose they are" in told(untold_frames=1234)
    assert "2 REST bodies of the capture were fetched elsewhere" in told(strange_bodies=2)
    assert "of the capture" not in told(untold_frames=0, strange_bodies=0)


def test_without_the_services_own_times_the_supervisors_are_taken() -> None:
    result = run_report(
        Lives(), [], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0, restarts=0
    )
    assert result["seconds"] == 7.0
    assert result["frames"] == 0
    assert summary(result)


def test_progress_tells_the_rate_since_the_last_line() -> None:
    lives, progress = Lives(), Progress()
    lives.update(ingest_life(1, frames=99, trades=1, us=1))
    progress.line(lives, 100.0)
    lives.update(ingest_life(1, frames=599, trades=2, us=1))
    line = progress.line(lives, 102.0)
    assert line.startswith("600 frames (250/s), 2 trade, ")
    assert "1 gaps" in line


def test_of_several_venues_each_has_its_part_and_all_add_up() -> None:
    lives = Lives()
    okx, deribit = ingest_life(1, frames=99, trades=1, us=1), ingest_life(2, 59, trades=2, us=1)
    lives.update(okx | {"instance": "ingest-okx", "books_without_snapshot": {"A": 3}})
    lives.update(deribit | {"instance": "ingest-deribit"})
    lives.update(status("book", 3, 1.0, instance="book"))
    silent = VenueFacts(ingest="ingest-kraken", why_silent="its list is awaited; see a log")
    result = run_report(
        lives, [file("trade", 5)], {}, data_dir=Path("x"), startup_seconds=1, elapsed_seconds=7.0,
        restarts=0, venues={
            "okx": VenueFacts(ingest="ingest-okx", bad_lines=2),
            "deribit": VenueFacts(ingest="ingest-deribit"), "kraken": silent,
        },
    )  # fmt: skip
    parts = result["venues"]
    assert [one["frames"] for one in parts.values()] == [99, 59, 0]
    assert [one["events"] for one in parts.values()] == [{"trade": 1}, {"trade": 2}, {}]
    assert result["frames"] == 158
    assert result["events"] == {"trade": 3}
    assert result["gaps"] == sum(one["gaps"] for one in parts.values())
    assert result["bad_lines"] == 2
    lines = shortcomings(result)
    assert "nothing was received: kraken: its list is awaited; see a log" in lines
    assert "3 updates of okx A are not stored: no snapshot came for them" in lines
    text = "\n".join(summary(result))
    assert [name for name in parts if f"  {name} " in text] == ["okx", "deribit", "kraken"]
    assert json.loads(json.dumps(result)) == result


def test_progress_of_several_venues_tells_the_frames_of_each() -> None:
    lives, progress = Lives(), Progress()
    lives.update(ingest_life(1, frames=99, trades=1, us=1) | {"instance": "ingest-okx"})
    lives.update(ingest_life(2, frames=9, trades=1, us=1) | {"instance": "ingest-kraken"})
    line = progress.line(lives, 1.0, ["ingest-okx", "ingest-kraken"])
    assert line.startswith("110 frames (0/s), okx 100, kraken 10, 2 trade")
