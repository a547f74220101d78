"""The checks of `tickbus doctor`: each gives ok, warn or fail, and the remedy."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from tickbus_schemas.errors import TickbusError

from tickbus_runtime.local.nats_server import find_program
from tickbus_runtime.settings import services
from tickbus_runtime.settings.sections import NatsSettings, Settings
from tickbus_runtime.settings.sources import redact

DISTRIBUTIONS = (
    "tickbus",
    "tickbus-schemas",
    "tickbus-runtime",
    *(f"tickbus-{name}" for name in services.ALL_NAMES),
    "tickbus-sim",
)
NATS_AT_LEAST = (2, 12)  # atomic batches, https://docs.nats.io/release-notes/whats_new
DISK_FAIL_BYTES = 1024**3
CLOCK_FIRST_S = 1_700_000_000  # before it, the clock was never set


class Finding(NamedTuple):
    """The answer of one check."""

    check: str
    level: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Every check, in the order in which problems are best repaired."""
    yield check_python()
    yield from check_distributions()
    yield check_nats_program()
    folder = Path(settings.data_dir)
    yield check_folder(folder)
    yield check_disk(folder, settings.nats.max_bytes)
    yield check_ports(settings)
    yield check_clock()
    yield check_kernels()
    yield check_cores()
    yield check_nats(settings)


def check_python() -> Finding:
    """Which Python runs this; one older than 3.11 could not import tickbus."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{version} at {sys.executable}")


def check_distributions() -> Iterator[Finding]:
    """Whether all distributions are installed, in one version."""
    versions: dict[str, str] = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", "fail", f"{name} is missing", "pip install 'tickbus[all]'")
    if len(set(versions.values())) > 1:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Finding("packages", "warn", f"versions differ: {text}", "install them together")
    elif len(versions) == len(DISTRIBUTIONS):
        yield Finding("packages", "ok", f"all {len(versions)}, version {versions['tickbus']}")


def check_nats_program() -> Finding:
    """Whether `tickbus up` finds a server program to start."""
    try:
        program = find_program()
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    except (TickbusError, OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            "nats-server",
            "warn",
            str(error),
            "only needed if no server runs yet (else: --nats URL)",
        )
    version = said.stdout.strip().rpartition("v")[2]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < NATS_AT_LEAST:
        wanted = ".".join(map(str, NATS_AT_LEAST))
        return Finding("nats-server", "fail", f"{version} at {program}", f"{wanted} or newer")
    return Finding("nats-server", "ok", f"{version} at {program}")


def check_folder(folder: Path) -> Finding:
    """Whether the data folder, or the nearest one above that exists, can be written."""
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        text = f"{existing}: {error.strerror or error}"
        return Finding("data folder", "fail", text, "choose a folder of yours with --data")
    return Finding("data folder", "ok", f"{folder.absolute()} can be written")


def check_disk(folder: Path, stream_bytes: int) -> Finding:
    """Whether the raw stream's limit fits on the disk."""
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{free / 1e9:.1f} GB free"
    if free < DISK_FAIL_BYTES:
        return Finding("disk", "fail", text, "free some space, or choose another disk with --data")
    if free < 2 * stream_bytes:
        return Finding(
            "disk", "warn", f"{text}, streams may take {2 * stream_bytes / 1e9:.1f} GB",
            "set nats.max_bytes lower: a full disk stops the server until it is restarted",
        )  # fmt: skip
    return Finding("disk", "ok", text)


def check_ports(settings: Settings) -> Finding:
    """Whether the services' ports can be listened on."""
    host, first = settings.health.host, settings.health.port
    if why := services.no_ports(first):
        return Finding("ports", "fail", why, "choose a lower one, or 0 for any")
    for port in services.health_ports(first) or [0]:
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            text = f"{host}:{port}: {error.strerror or error}"
            return Finding("ports", "fail", text, "set health.port to a free one, or 0 for any")
    return Finding("ports", "ok", f"{host} can be listened on")


def check_clock() -> Finding:
    """Whether the clock is set and synchronised."""
    if time.time() < CLOCK_FIRST_S:
        return Finding("clock", "fail", "far in the past", "set it, and run chrony or ntpd")
    kept = _clock_is_synchronised()
    if kept is None:
        return Finding("clock", "ok", "is set; this system does not say whether it is synchronised")
    if not kept:
        return Finding(
            "clock", "warn", "is not synchronised: latencies to the venue will be wrong",
            "run chrony, ntpd or systemd-timesyncd",
        )  # fmt: skip
    return Finding("clock", "ok", "is synchronised")


def _clock_is_synchronised() -> bool | None:
    """The answer of systemd; None without systemd."""
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        asked = [program, "show", "--property=NTPSynchronized", "--value"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(said.stdout.strip())


def check_kernels() -> Finding:
    """Whether compiled kernels are cached; else each service compiles for a minute at start."""
    spec = find_spec("tickbus")
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    roots.append(Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache()))
    cached = [path for root in roots for path in root.rglob("*.nbi")]
    if not cached:
        return Finding("kernels", "warn", "not compiled yet", "python -m tickbus.warm")
    return Finding("kernels", "ok", f"{len(cached)} compiled functions are cached")


def user_cache() -> str:
    """Where Numba keeps its cache if it may not write beside the source."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")


def check_cores() -> Finding:
    """Whether the machine has at least two cores."""
    cores = os.cpu_count() or 1
    if cores < 2:
        return Finding("cores", "warn", "only one: services wait for each other", "use 2 or more")
    return Finding("cores", "ok", str(cores))


def check_nats(settings: Settings) -> Finding:
    """Whether the server answers, if one is configured or runs for this folder."""
    run_file = Path(settings.data_dir) / "_run" / "nats.json"
    if settings.nats.url == NatsSettings().url and not run_file.exists():
        return Finding("nats", "ok", "none configured: 'tickbus up' starts its own")
    try:
        text = asyncio.run(_ask_nats(settings))
    except (TickbusError, OSError, TimeoutError) as error:
        level: Literal["warn", "fail"] = "warn" if run_file.exists() else "fail"
        return Finding("nats", level, str(error), "start it, or correct nats.url")
    return Finding("nats", "ok", text)


async def _ask_nats(settings: Settings) -> str:
    from tickbus.log.connection import connect

    from tickbus_runtime.bus import connection

    url = None if settings.nats.url == NatsSettings().url else settings.nats.url
    nc = await connect(
        url,
        name="tickbus-doctor",
        user=settings.nats.user,
        password=connection.password(settings.nats),
        creds_file=settings.nats.creds_file,
        data_dir=settings.data_dir,
    )
    try:
        account = await nc.jsm().account_info()
        where = redact(url) if url else "the one of this data folder"
        return f"{where} answers, {account.streams} streams"
    finally:
        await connection.close(nc)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
