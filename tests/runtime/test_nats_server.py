"""The embedded NATS server: private, on a port of its own, the same again after a crash."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest
from tickbus.log.connection import Connection, connect
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.errors import Fatal

pytestmark = pytest.mark.connected


async def test_stream_port_and_password_survive_a_kill(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    js = bus.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"kept")
    url, password = nats_server.url, nats_server.password
    os.kill(int(json.loads(nats_server.run_file.read_bytes())["pid"]), 9)
    assert await nats_server.exited() == -9
    again = EmbeddedServer(nats_server.folder.parent)
    await again.start()
    try:
        assert (again.url, again.password) == (url, password)
        client = await connect(data_dir=nats_server.folder.parent)
        found = await client.jetstream().get_last_msg("S", "s")
        assert found.data == b"kept"
        await client.close()
    finally:
        await again.stop()
    assert await again.exited() in (0, 1)


async def test_files_with_the_password_are_private(nats_server: EmbeddedServer) -> None:
    for path in (nats_server.run_file, nats_server.folder / "server.conf"):
        assert nats_server.password in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nobody_enters_without_the_password(nats_server: EmbeddedServer) -> None:
    with pytest.raises(Fatal, match="refuses the login"):
        await connect(nats_server.url, user="tickbus", password="wrong")


async def test_a_port_in_use_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedServer(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(Fatal, match=r"in use.*--nats"):
            await server.start()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Fatal, match=r"cannot write .*--data"):
        await EmbeddedServer(tmp_path / "file").start()


async def test_a_server_that_cannot_start_gives_its_reason(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.prepare()
    (server.folder / "jetstream").write_text("a file where the store belongs")
    with pytest.raises(Fatal, match="did not start"):
        await asyncio.wait_for(server.start(), 30)
    assert server.process is not None
    assert server.process.returncode is not None
