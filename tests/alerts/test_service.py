"""The notifier as a process on a real server: restarted, killed, refused; nothing lost or twice."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.messages import Severity

from tests.alerts.receiving import (
    CHAT,
    RENEWED,
    RESOLVED,
    TOKEN,
    Served,
    alert,
    receiver,
    store,
    telegram_says,
)
from tests.processes import ServiceProcess, Start, make_streams

pytestmark = pytest.mark.connected


def notifier(start: Start, folder: Path, served: Served, **more: str) -> ServiceProcess:
    """The service with a Telegram that is on this machine."""
    folder.mkdir(exist_ok=True)
    token = folder / "token"
    token.write_text(TOKEN)
    settings = {
        "TICKBUS_ALERTS__TELEGRAM_URL": served.url,
        "TICKBUS_ALERTS__TELEGRAM_TOKEN_FILE": str(token),
        "TICKBUS_ALERTS__TELEGRAM_CHAT": CHAT,
        "TICKBUS_TELEMETRY__LOG_LEVEL": "debug",
        **more,
    }
    return start("alerts", folder, **settings)


async def settled(service: ServiceProcess, notified: int) -> dict[str, Any]:
    """Wait until so many alerts were taken; then its status."""
    async with asyncio.timeout(60):
        while True:
            status = await asyncio.to_thread(service.status)
            if status.get("counters", {}).get("notified", 0) >= notified:
                return status
            await asyncio.sleep(0.05)


async def test_what_is_open_is_told_at_the_first_start_and_then_what_comes(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    await store(bus, alert(1), alert(2), alert(3, RESOLVED, about="n1"))
    async with receiver() as served:
        service = notifier(start, tmp_path / "one", served)
        await served.until(1)
        await store(bus, alert(4), alert(5, RESOLVED, about="n2"))
        await served.until(3)
        await settled(service, 3)
        assert await asyncio.to_thread(service.drain) == 0
    causes = [text.split("\n")[1] for text in served.texts]
    assert causes == ["seen 2", "seen 4", "It was: seen 5"]
    assert {body["chat_id"] for _, body in served.got} == {CHAT}


async def test_a_notifier_that_is_stopped_or_killed_loses_nothing_and_repeats_nothing(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    folder, number = tmp_path / "one", 0
    async with receiver() as served:
        for ending in ("drain", "kill", "drain"):
            service = notifier(start, folder, served)
            await store(bus, alert(number + 1), alert(number + 2))
            await served.until(number + 2)
            await settled(service, 2)
            await asyncio.sleep(0.5)  # the place is stored
            await asyncio.to_thread(getattr(service, ending))
            await store(bus, alert(number + 3))  # while nobody listens
            number += 3
        last = notifier(start, folder, served)
        await served.until(number)
        await settled(last, 1)
        last.kill()
    assert [text.split("\n")[1] for text in served.texts] == [f"seen {n + 1}" for n in range(9)]


async def test_a_receiver_that_misbehaves_gets_each_alert_once(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    script: list[web.Response | str] = [
        telegram_says(429, "Too Many Requests: retry after 2", retry_after=2),
        web.Response(status=502, text="<html>"),
        "reset",
        telegram_says(400, "Bad Request: can't parse entities: byte offset 3"),
    ]
    async with receiver(*script) as served:
        service = notifier(start, tmp_path / "one", served)
        await store(bus, alert(1))
        await served.until(5)
        status = await settled(service, 1)
        await asyncio.to_thread(service.drain)
    assert len(served.got) == 5
    assert served.at_s[1] - served.at_s[0] >= 2.0
    assert served.at_s[2] - served.at_s[1] >= 0.5
    modes = ["parse_mode" in body for _, body in served.got]
    assert modes == [True, True, True, True, False]
    assert status["counters"]["notifications{outcome=again}"] == 3
    assert status["counters"]["notifications{outcome=sent}"] == 1


async def test_a_burst_becomes_a_digest(bus: Connection, start: Start, tmp_path: Path) -> None:
    await make_streams(bus)
    await store(bus, alert(0, severity=Severity.WARNING))
    # They are there at its first look: none is sent before the others have come.
    await store(bus, *(alert(n, RENEWED if n == 9 else 1) for n in range(1, 41)))  # type: ignore[arg-type]  # the number of RAISED
    async with receiver() as served:
        service = notifier(
            start, tmp_path / "one", served, TICKBUS_ALERTS__PER_MINUTE="3",
            TICKBUS_ALERTS__SEVERITY="critical",
        )  # fmt: skip
        await settled(service, 40)
        assert len(served.got) == 3
        service.kill()
    assert served.texts[0].split("\n")[1] == "seen 1"
    assert "alerts:" in served.texts[2]


@pytest.mark.parametrize("when", ["at the start", "later", "the chat"])
async def test_wrong_settings_end_it_with_one_line_that_holds_no_secret(
    bus: Connection, start: Start, tmp_path: Path, when: str
) -> None:
    await make_streams(bus)
    async with receiver() as served:
        if when == "at the start":
            served.me = lambda: telegram_says(401, "Unauthorized")
            expected = "does not know the token (401 Unauthorized): correct alerts.telegram_token"
        elif when == "later":
            served.script.append(telegram_says(404, "Not Found"))
            expected = "does not know the token (404 Not Found): correct alerts.telegram_token"
        else:
            served.script.append(telegram_says(400, "Bad Request: chat not found"))
            expected = "may not write to the chat (400 Bad Request: chat not found)"
        await store(bus, alert(1))
        service = notifier(start, tmp_path / "one", served)
        code, said = await service.ended()
    assert code == 1
    fatal = [line for line in said.splitlines() if '"fatal":true' in line]
    assert len(fatal) == 1
    assert expected in fatal[0]
    assert "Traceback" not in said
    assert TOKEN not in said
    assert len(served.got) == (when != "at the start")


async def test_no_secret_is_in_anything_that_it_writes(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    secret = "T0SECRET/B0SECRET"
    script: list[web.Response | str] = ["reset", web.Response(status=500)]
    async with receiver(*script, web.Response(status=400, text="invalid_payload")) as served:
        service = start(
            "alerts", tmp_path / "one",
            TICKBUS_ALERTS__WEBHOOK_URL=f"{served.url}/services/{secret}",
            TICKBUS_TELEMETRY__LOG_LEVEL="debug",
            PYTHONASYNCIODEBUG="1",
        )  # fmt: skip
        await store(bus, alert(1))
        await served.until(3)
        await store(bus, alert(2))
        await served.until(4)
        status = await settled(service, 1)
        asking = asyncio.create_task(service.ended())
        os.kill(status["pid"], 15)
        code, said = await asking
    assert code == 0
    assert "refuses a letter" in said
    assert "SECRET" not in said
    assert "SECRET" not in repr(status)
    left = (path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert not any(b"SECRET" in path.read_bytes() for path in left)
    assert [path for path, _ in served.got] == [f"/services/{secret}"] * 4


async def test_a_bus_that_is_away_is_told_directly_and_so_is_its_return(
    nats_server: EmbeddedServer, bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    async with receiver() as served:
        service = notifier(start, tmp_path / "one", served)
        await service.read_up_to({})
        await store(bus, alert(1))
        await served.until(1)
        await nats_server.kill()
        await served.until(2)
        await nats_server.start()
        await store(bus, alert(2))
        await served.until(3)
        assert await asyncio.to_thread(service.drain) == 0
    causes = [text.split("\n")[1] for text in served.texts]
    assert causes == ["seen 1", "the notifier has no connection to NATS", "seen 2"]


async def test_without_a_receiver_it_says_what_to_set(
    nats_server: EmbeddedServer, bus: Connection, start: Start, tmp_path: Path
) -> None:
    code, said = await start("alerts", tmp_path / "one").ended()
    assert code == 1
    assert "alerts go nowhere: set alerts.telegram_token_file" in said
