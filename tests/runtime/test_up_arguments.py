"""`tickbus up`, `doctor`: what can be wrong before anything is started is one clear line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tickbus_runtime.commands import demo, doctor, trace, up
from tickbus_runtime.local.checks import check_ports, findings
from tickbus_runtime.local.data_folder import DataFolder
from tickbus_runtime.settings.sections import HealthSettings, Settings
from tickbus_schemas.errors import Fatal


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TICKBUS_") and name != "TICKBUS_CAPTURES":
            monkeypatch.delenv(name)


def arguments(*words: str, command: ModuleType = up) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


def test_arguments_stand_above_everything_else() -> None:
    plan = up.plan_of(
        arguments("--exchange", "binance_spot", "--tickers", "BTCUSDT, ETHUSDT", "--data", "d",
                  "--set", "ingest.linger_ms=5", "--set", "book.intervals=1s,1m")
    )  # fmt: skip
    settings = plan.settings(plan.overrides, {})
    assert settings.ingest.tickers == ["BTCUSDT", "ETHUSDT"]
    assert settings.of_shard.md == "MD_BINANCE_SPOT"
    assert settings.ingest.linger_ms == 5
    assert settings.book.intervals == ["1s", "1m"]
    assert settings.data_dir == str(Path("d").absolute())
    assert plan.embedded
    assert [list(venue.simulated) for venue in plan.venues] == [[]]


def test_a_server_that_is_named_is_not_started() -> None:
    assert not up.plan_of(arguments("--nats", "nats://10.0.0.1:4222")).embedded


def test_a_capture_is_served_by_the_venue(tmp_path: Path) -> None:
    capture = tmp_path / "a.jsonl.gz"
    capture.write_bytes(b"")
    plan = up.plan_of(arguments("--capture", str(capture), "--speed", "max", "--capture-times"))
    (venue,) = plan.venues
    assert venue.simulated == ["--capture", str(capture), "--speed", "max", "--capture-times"]
    assert plan.overrides["ingest.capture_times"] is True


def taken(*words: str) -> list[tuple[str, list[str]]]:
    """Exchange and tickers of each venue of the plan."""
    plan = up.plan_of(arguments(*words))
    settings = [plan.settings({**plan.overrides, **one.overrides}, {}) for one in plan.venues]
    return [(one.ingest.exchange, one.ingest.tickers) for one in settings]


def test_an_exchange_may_name_its_tickers() -> None:
    assert taken("--exchange", "okx:BTC-USDT,BTC-USDT-SWAP") == [
        ("okx", ["BTC-USDT", "BTC-USDT-SWAP"])
    ]
    assert taken("--exchange", "hyperliquid:xyz:GOLD") == [("hyperliquid", ["xyz:GOLD"])]
    assert taken("--exchange", 'kraken:["A,B", "C"]') == [("kraken", ["A,B", "C"])]


def test_several_exchanges_run_side_by_side() -> None:
    words = ("--exchange", "okx:BTC-USDT", "--exchange", "kraken", "--exchange", "deribit:*")
    expected = [("okx", ["BTC-USDT"]), ("kraken", ["BTC/USD"]), ("deribit", ["*"])]
    assert taken(*words, "--tickers", "BTC/USD") == expected
    twice = ("--exchange", "okx:A,B", "--exchange", "kraken:X", "--exchange", "okx:B,C")
    assert taken(*twice) == [("okx", ["A", "B", "C"]), ("kraken", ["X"])]


def test_of_several_venues_each_gives_the_wanted_feeds_that_it_has(capsys: Any) -> None:
    several = ("--exchange", "okx:BTC-USDT", "--exchange", "kraken:BTC/USD")
    plan = up.plan_of(arguments(*several, "--set", "ingest.feeds=trade,liquidation"))
    assert [one.overrides["ingest.feeds"] for one in plan.venues] == [
        ["trade", "liquidation"], ["trade"]
    ]  # fmt: skip
    assert "kraken has no liquidation" in capsys.readouterr().err
    with pytest.raises(Fatal, match=r"kraken has none of ingest\.feeds: liquidation"):
        up.plan_of(arguments(*several, "--set", "ingest.feeds=liquidation"))


def test_the_settings_file_may_name_several_venues(tmp_path: Path) -> None:
    file = tmp_path / "tickbus.toml"
    file.write_text('venues = ["okx:BTC-USDT", "deribit:BTC-PERPETUAL"]\n')
    expected = [("okx", ["BTC-USDT"]), ("deribit", ["BTC-PERPETUAL"])]
    assert taken("--config", str(file)) == expected
    plan = up.plan_of(arguments("--config", str(file), "--set", "shard=mine"))
    loaded = [plan.settings({**plan.overrides, **one.overrides}, {}) for one in plan.venues]
    assert [one.of_shard.name for one in loaded] == ["okx", "deribit"]
    assert taken("--config", str(file), "--exchange", "kraken:X") == [("kraken", ["X"])]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--capture", "/no/such/file"], "no such capture: /no/such/file"),
        (["--capture", "/dev/null", "--speed", "fast"], "--speed fast: a number above 0, or max"),
        (["--capture-times"], "--capture-times need --capture FILE"),
        (["--speed", "max"], "need --capture FILE"),
        (["--exchange", "mtgox"], "unknown exchange 'mtgox': built are binance_coinm, "),
        (["--exchange", "Deribit:A"], "did you mean deribit? built are "),
        (["--exchange", "okx:"], "--exchange okx:: write NAME:TICKER,TICKER"),
        (
            ["--exchange", "okx:A", "--exchange", "kraken:B", "--capture", "/dev/null"],
            "a capture is of one venue",
        ),
        (
            ["--exchange", "okx:A", "--exchange", "kraken:B", "--health-port", "65532"],
            "health.port = 65532: 6 services take the ports from it on",
        ),
        (["--set", "ingest.linger_ms"], "write KEY=VALUE"),
        (["--set", "ingest.linger=3"], "did you mean ingest.linger_ms?"),
        (["--config", "/no/such.toml"], "No such file"),
        (["--health-port", "99999"], "at most 65535"),
        (["--health-port", "65533"], "health.port = 65533: 5 services take the ports from it on"),
        (["--set", "ingest.feeds="], "ingest.feeds = [] (command line): at least one of trade"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(words: list[str], line: str) -> None:
    with pytest.raises(Fatal) as caught:
        up.plan_of(arguments(*words))
    assert line in str(caught.value)


WRONG_PORTS = {"99999", "-1", "4222.0", "x"}
WRONG_SECONDS = {"-1", "0", "nan", "inf", "x"}


@pytest.mark.parametrize(
    ("command", "option", "wrong", "line"),
    [
        (up, "--nats-port", WRONG_PORTS, "is no port: 0 to 65535"),
        (trace, "--port", WRONG_PORTS, "is no port: 0 to 65535"),
        (up, "--duration", WRONG_SECONDS, "is no number of seconds above 0"),
        (demo, "--duration", WRONG_SECONDS, "is no number of seconds above 0"),
        (trace, "--duration", WRONG_SECONDS, "is no number of seconds above 0"),
        (trace, "--count", WRONG_SECONDS, "is no whole number above 0"),
    ],
)
def test_a_number_that_cannot_be_is_wrong_usage(
    command: ModuleType, option: str, wrong: set[str], line: str, capsys: Any
) -> None:
    for text in wrong:
        with pytest.raises(SystemExit) as left:
            arguments(f"{option}={text}", command=command)
        assert left.value.code == 2
        assert f"argument {option}: '{text}' {line}" in capsys.readouterr().err


def test_an_exchange_of_the_command_line_is_checked_against_the_capture(tmp_path: Path) -> None:
    capture = tmp_path / "a.jsonl.gz"
    capture.write_bytes(b"")
    for words in (["--exchange", "okx"], ["--set", "ingest.exchange=okx"]):
        plan = up.plan_of(arguments("--capture", str(capture), *words))
        assert plan.venues[0].simulated[-2:] == ["--exchange", "okx"]


def test_the_doctor_has_a_line_for_ports_that_do_not_exist() -> None:
    found = check_ports(Settings(health=HealthSettings(port=65_535)))
    assert found.level == "fail"
    assert "65535 is the last one" in found.text


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path / "d"), DataFolder(tmp_path / "d")
    first.take()
    with pytest.raises(Fatal, match=rf"in use by another tickbus \(pid {os.getpid()}\)"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fatal, match="choose a folder of yours with --data"):
        DataFolder(tmp_path / "file" / "below").take()


def test_run_files_of_the_dead_are_removed_but_not_the_servers(tmp_path: Path) -> None:
    run = tmp_path / "_run"
    run.mkdir()
    for name in ("book.json", "book.last.json", "nats.json"):
        (run / name).write_text("{}")
    folder = DataFolder(tmp_path)
    folder.take()
    assert sorted(path.name for path in run.iterdir()) == ["nats.json", "up.lock"]
    folder.release()


@pytest.mark.connected
def test_the_doctor_answers_every_check_on_a_sound_machine(tmp_path: Path) -> None:
    found = {finding.check: finding for finding in findings(Settings(data_dir=str(tmp_path)))}
    assert {"python", "packages", "nats-server", "data folder", "disk", "ports"} <= set(found)
    assert found["packages"].level == "ok"
    assert found["nats-server"].level == "ok"
    assert all(finding.remedy for finding in found.values() if finding.level != "ok")


@pytest.mark.connected
def test_the_doctor_fails_with_a_remedy_where_a_run_would_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.toml").write_text("[book]\ndepth = 0\n")
    command = [sys.executable, "-m", "tickbus.cli", "doctor", "--json"]
    told = ["--config", str(tmp_path / "bad.toml"), "--nats", "nats://127.0.0.1:9"]
    done = subprocess.run([*command, *told], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    levels = {check["check"]: check["level"] for check in result["checks"]}
    assert not result["ok"]
    assert levels["settings"] == "fail"
    assert doctor.help
