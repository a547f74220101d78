"""The command line and environment of each process that `tickbus up` runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.local.supervise import Program
from tickbus_runtime.settings import services
from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.settings.sources import Overrides, environment

NATS = "nats"
VENUE = "venue"


def service(
    name: str,
    index: int,
    settings: Settings,
    config: str | None,
    overrides: Overrides,
    instance: str = "",
) -> Program:
    """A service: `python -m tickbus_<name>`. Health ports follow each other from health.port on.

    instance: the process's own name, where several run the same service.
    """
    instance = instance or name
    values = {"telemetry.log_format": "json", **overrides}
    if instance != name:
        values["instance"] = instance
    if settings.health.port:
        values["health.port"] = settings.health.port + index
    return Program(
        instance,
        [sys.executable, "-m", f"tickbus_{name}"],
        _log(Path(settings.data_dir), instance),
        environment(values) | ({"TICKBUS_CONFIG": config} if config else {}),
        ends=name == "ingest",  # when its input does
        vital=name in services.NAMES,
    )


def nats_program(server: EmbeddedServer) -> Program:
    """The embedded server; it is restarted after any exit."""
    return Program(
        NATS, server.argv, server.log, {},
        on_start=server.announce, fatal_codes=frozenset(), ends=False,
    )  # fmt: skip


def venue_program(
    arguments: Sequence[str], data_dir: Path, on_line: Callable[[str], None], name: str = VENUE
) -> Program:
    """The simulated venue; it is not restarted, because it would play its input again."""
    return Program(
        name,
        [sys.executable, "-m", "tickbus_sim", *arguments],
        _log(data_dir, name),
        {},
        on_line=on_line,
        restart=False,
    )


def _log(data_dir: Path, name: str) -> Path:
    return data_dir / "_log" / f"{name}.jsonl"
