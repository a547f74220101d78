"""Structured logs on standard error: JSON lines, or plain lines on a terminal.

https://www.structlog.org/en/stable/ ; records of the `logging` module go to the same stream.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

from tickbus_runtime.lean import import_without
from tickbus_runtime.settings.sections import TelemetrySettings

# structlog imports rich for tracebacks if it is installed; services never need it (0.13 s).
structlog = import_without("rich", "structlog")


class _Forward(logging.Handler):
    """Passes the records of `logging` (nats, aiohttp, asyncio) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _json(_logger: object, _method: str, event: dict[str, Any]) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def is_json(settings: TelemetrySettings) -> bool:
    """Whether log lines are JSON: asked for, or not on a terminal."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def configure(service: str, settings: TelemetrySettings) -> Any:
    """Set up logging for this process; returns its logger, bound to the service's name."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    processors: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_json(settings):
        processors += [structlog.processors.format_exc_info, _json]
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.WARNING), force=True)
    return structlog.get_logger().bind(service=service)
