"""`tickbus venues`, `tickbus instruments` and the tables of the documents."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tickbus_ingest.commands import tables, venues
from tickbus_ingest.commands.asking import asked
from tickbus_ingest.commands.facts import facts
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.venue.instruments import Unread
from tickbus_ingest.wire.rest import Rest
from tickbus_runtime.commands import up
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.exchanges import Exchange

from tests.ingest.venues import vectors

each_venue = pytest.mark.parametrize("token", names())


async def tickbus(*arguments: str) -> tuple[int, str, str]:
    """The command as a user runs it: exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tickbus.cli"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# ---------------------------------------------------------------------- venues


def test_the_tables_of_the_documents_are_current() -> None:
    for path, text in tables.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run 'make docs'"


def test_every_code_is_in_the_table_once_and_what_is_not_built_is_planned() -> None:
    table = tables.tables()["README.md"]["exchanges"]
    for exchange in Exchange:
        (line,) = (line for line in table.splitlines() if f"`{exchange.token}`" in line)
        assert ("planned" in line) == (exchange.token not in names())
        if exchange.token in names():
            assert line.startswith(f"| `{exchange.token}` | {int(exchange)} | ")


def test_a_document_without_the_markers_is_refused() -> None:
    with pytest.raises(Fatal, match="no table units"):
        tables.written("# Units\n", "units", "| a |")


@each_venue
def test_a_venue_says_its_units_and_where_it_is_documented(token: str) -> None:
    venue = load(token)
    assert venue.units, "what a unit of qty and of turnover is"
    assert all(one.qty and one.turnover for one in venue.units)
    kinds = [one.of for one in venue.units]
    assert len(set(kinds)) == len(kinds)
    assert all(kinds) or len(kinds) == 1
    assert all(url.startswith("https://") for url in venue.docs)


@pytest.mark.parametrize("tokens", [*([one] for one in names()), ["okx", "kraken", "deribit"]])
def test_the_example_of_a_venue_is_a_settings_file_that_a_run_takes(
    tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("TICKBUS_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "tickbus.toml"
    file.write_text(venues.example([facts(load(token)) for token in tokens]))
    parser = argparse.ArgumentParser()
    up.configure(parser)
    plan = up.plan_of(parser.parse_args(["--config", str(file)]))
    taken = [plan.settings({**plan.overrides, **one.overrides}, {}) for one in plan.venues]
    assert [one.ingest.exchange for one in taken] == tokens
    for one in taken:
        venue = load(one.ingest.exchange)
        assert one.ingest.tickers == list(venue.examples)
        assert {"trade", "l2", "bbo"} & set(venue.feeds) <= set(one.ingest.feeds)
        venue([], one.ingest.feeds)  # refuses feeds that it does not have


@pytest.mark.connected
async def test_venues_tells_a_program_all_that_the_files_say() -> None:
    code, out, _ = await tickbus("venues", "--json")
    assert code == 0
    found = {one["exchange"]: one for one in json.loads(out)["venues"]}
    assert sorted(found) == names()
    for token, one in found.items():
        venue = load(token)
        assert one["code"] == int(venue.exchange)
        assert one["status"] == venue.evidence.value
        assert one["feeds"] == list(venue.feeds)
        assert len(one["limits"]) == len(venue.limits)
        assert one["numbering_is_global"] is venue.numbering_is_global
        assert one["documents"] == list(venue.docs)


@pytest.mark.connected
async def test_a_venue_that_is_not_built_is_answered_with_the_nearest_that_is() -> None:
    for command in ("venues", "instruments"):
        code, out, err = await tickbus(command, "Kraken_Spot")
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert "did you mean kraken?" in err
        assert err.count("kraken_futures") == 1


# ----------------------------------------------------------------- instruments


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """The address of an HTTP server on a free port."""
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    scheme = "https" if context else "http"
    try:
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.connected
@each_venue
async def test_the_list_that_a_venue_sends_is_the_one_that_is_read(token: str) -> None:
    bodies, expected = vectors.listed(token)
    waiting = list(bodies)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=waiting.pop(0))

    kind = load(token)
    requests = kind.instruments_requests()
    if len(bodies) > 3:
        pytest.skip("more bodies than its limits allow in a moment")
    assert requests
    async with serving(answer) as url:
        listed = await asked(kind, Rest([url] * len(kind.rest_urls)))
    assert not waiting
    found = [one.ticker for one in listed if not isinstance(one, Unread)]
    assert found == [one["ticker"] for one in expected]


@pytest.mark.connected
async def test_instruments_are_printed_by_kind_and_name_and_odd_rows_are_named() -> None:
    rows: list[dict[str, Any]] = [
        {"instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT"},
        {"instId": "ETH-USDT", "instType": "SPOT", "baseCcy": "ETH", "quoteCcy": "USDT"},
    ]
    common = {"tickSz": "0.1", "lotSz": "0.001", "minSz": "0.001", "state": "live"}
    odd = {"instId": "ODD-USDT", "instType": "SPOT", "tickSz": "a tenth"}

    async def answer(request: web.Request) -> web.Response:
        of = request.query.get("instType")
        held = [{**row, **common} for row in rows] + [odd] if of == "SPOT" else []
        return web.json_response({"code": "0", "msg": "", "data": held})

    async with serving(answer) as url:
        told = ("instruments", "okx", "--rest-url", url, "--match", "BTC*")
        code, out, err = await tickbus(*told)
        assert code == 0
        header, row = out.splitlines()
        assert header.split()[:4] == ["ticker", "kind", "base", "quote"]
        assert row.split()[:7] == ["BTC-USDT", "spot", "BTC", "USDT", "-", "0.1", "0.001"]
        assert "ODD-USDT" in err
        code, out, _ = await tickbus(*told, "--json", "--kind", "spot")
        found = json.loads(out)
        assert [one["ticker"] for one in found["instruments"]] == ["BTC-USDT"]
        assert found["instruments"][0]["tick_size"] == 0.1
        assert found["instruments"][0]["expiry_timestamp"] is None
        assert len(found["not_understood"]) == 1
        code, out, _ = await tickbus(*told[:4], "--kind", "option")
        assert (code, out.count("\n")) == (0, 1)


REFUSALS = {
    418: "ask again in 7 s",
    429: "ask again in 7 s",
    403: "forbidden from here",
    451: "forbidden from here",
    503: "its server fails",
    400: "does not answer this request",
    302: "sent elsewhere (https://elsewhere.example/), which is not followed",
}


@pytest.mark.connected
@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_is_one_line_and_is_not_asked_again(status: int) -> None:
    asked_for = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked_for
        asked_for += 1
        headers = {"Retry-After": "7", "Location": "https://elsewhere.example/"}
        return web.Response(status=status, headers=headers, text="a text\nof two lines")

    async with serving(answer) as url:
        code, out, err = await tickbus("instruments", "binance_spot", "--rest-url", url)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert f"HTTP {status}, " in err
    assert REFUSALS[status] in err
    assert asked_for == 1


@pytest.mark.connected
async def test_no_server_is_one_line() -> None:
    code, _, err = await tickbus("instruments", "kraken", "--rest-url", "http://127.0.0.1:1")
    assert code == 1
    assert err.count("\n") == 1
    assert "Cannot connect to host 127.0.0.1:1" in err


@pytest.mark.connected
async def test_what_is_no_list_is_one_line() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>we are down</html>")

    async with serving(answer) as url:
        code, out, err = await tickbus("instruments", "binance_spot", "--rest-url", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no list of instruments" in err


@pytest.mark.connected
async def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    made = await asyncio.create_subprocess_exec(
        *[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=elsewhere.example",
        ],
        *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    if await made.wait():
        pytest.skip("openssl makes no certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")

    async def answer(_: web.Request) -> web.Response:
        raise AssertionError("a request went out over a connection that is not the venue's")

    async with serving(answer, context) as url:
        kind = load("binance_spot")
        with pytest.raises(Retry, match="certificate"):
            await asked(kind, Rest([url] * len(kind.rest_urls)))
