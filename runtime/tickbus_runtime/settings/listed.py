"""Every setting with its meaning, as the sections declare it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types

from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.settings.sources import KEYS, allowed, env_name

_UNITS = {
    "_ms": "ms",
    "_us": "us",
    "_s": "s",
    "_h": "h",
    "_bytes": "bytes",
    "bytes_max": "bytes",
    "_rows": "rows",
    "_frames": "frames",
}
"""End of a name -> the unit of its value."""


class Listed(NamedTuple):
    """A setting."""

    name: str
    section: str
    """"" for those at the top"""
    variable: str
    """of the environment"""
    default: Any
    unit: str
    allowed: str
    """what it takes, in words"""
    meaning: str


def listed() -> list[Listed]:
    """All of them, in the order of the sections."""
    defaults = msgspec.to_builtins(Settings())
    found = []
    for name, field in KEYS.items():
        section, _, key = name.rpartition(".")
        found.append(
            Listed(
                name,
                section,
                env_name(name),
                defaults[section][key] if section else defaults[key],
                _unit(key),
                allowed(field.type),
                _meaning(field.type),
            )
        )
    return found


def _unit(key: str) -> str:
    return next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")


def _meaning(kind: Any) -> str:
    """The description nearest to the type."""
    info = types.type_info(kind)
    while isinstance(info, types.Metadata):
        described = (info.extra_json_schema or {}).get("description")
        if described:
            return str(described)
        info = info.type
    return ""
