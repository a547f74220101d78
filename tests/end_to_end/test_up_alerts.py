"""`tickbus up` with a notifier: from what goes wrong to a message on somebody's telephone."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.receiving import CHAT, TOKEN, receiver, telegram_says
from tests.end_to_end.running import TICKBUS, Run

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

SMALL = "binance_usdm/cryptofeed_20210722"
NOWHERE = ["--set", "ingest.rest_url=http://127.0.0.1:9", "--set", "ingest.ws_url=ws://127.0.0.1:9"]


def settings_of(url: str) -> dict[str, str]:
    """A Telegram on this machine, its secrets in the environment."""
    return {
        "TICKBUS_ALERTS__TELEGRAM_TOKEN": TOKEN,
        "TICKBUS_ALERTS__TELEGRAM_CHAT": CHAT,
        "TICKBUS_ALERTS__TELEGRAM_URL": url,
    }


def holding(folder: Path, word: str) -> list[Path]:
    """Files below a folder in which the word stands."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if word.encode() in path.read_bytes()]


def listed(run: Run) -> tuple[int, Any]:
    done = subprocess.run(
        [TICKBUS, "alerts", "--data", run.data, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


async def test_a_venue_that_is_never_reached_is_told_to_the_telephone(up: Any) -> None:
    async with receiver() as served:
        run = up(
            "--tickers", "BTCUSDT", "--set", "ingest.silence_s=1", *NOWHERE,
            environment=settings_of(served.url),
        )  # fmt: skip
        await served.until(1)
        code, found = await asyncio.to_thread(listed, run)
        run.process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(run.process.communicate)
    first = served.texts[0].split("\n")
    assert first[0] == "<b>RAISED critical: no_data of ingest binance_usdm</b>"
    assert first[1] == "binance_usdm: the list of instruments has not come for 2 s"
    assert code == 1
    assert [one["condition"] for one in found["open"]] == ["no_data"]
    assert TOKEN not in said
    assert holding(run.data, TOKEN) == []


async def test_a_wrong_token_is_said_and_costs_no_data(up: Any, captures: Path) -> None:
    async with receiver() as served:
        served.me = lambda: telegram_says(401, "Unauthorized")
        capture = str(captures / "frames" / f"{SMALL}.jsonl.gz")
        run = up(
            "--capture", capture, "--speed", "2", environment=settings_of(served.url)
        )  # fmt: skip
        result = await asyncio.to_thread(run.finish)
    assert result["rows"]["trade"] == 91
    assert result["restarts"] == 0
    (line,) = [line for line in run.said.splitlines() if "telegram" in line and "goes on" in line]
    assert line.startswith("alerts: alerts cannot be sent to telegram: it does not know the token")
    assert line.endswith("; everything else goes on without it")
    assert TOKEN not in run.said
    assert holding(run.data, TOKEN) == []
