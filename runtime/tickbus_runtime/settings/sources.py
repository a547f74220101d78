"""Reads settings from a TOML file and the environment; reports all mistakes, one line each."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types
from tickbus_schemas import subjects
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import RAW

from tickbus_runtime.settings.sections import Section, Settings, shard_of

PREFIX = "TICKBUS_"
NOT_SETTINGS = frozenset(
    {
        "TICKBUS_CONFIG",
        "TICKBUS_SUPERVISED",
        "TICKBUS_HELD",
        "TICKBUS_DEBUG",
        "TICKBUS_CAPTURES",
        "TICKBUS_FOUND",
    }
)
"""Environment variables with the same prefix that are not settings."""

GONE = {
    "ingest.channels": "is gone: name feeds in ingest.feeds, e.g. trade, l2, bbo; the venue's file "
    "knows its channels",
}
"""Settings that were, and what to do instead."""

SECRETS = frozenset({"alerts.telegram_token", "alerts.telegram_chat", "alerts.webhook_url"})
"""Settings whose values no message shows."""

Overrides = Mapping[str, Any]
"""Dotted key (`ingest.tickers`) to value; overrides file and environment."""

_FEEDS = [feed for feed in RAW if feed != "status"]
"""Those that a venue can have."""
_URL = re.compile(r"(nats|tls|ws|wss)://[^\s/]+", re.IGNORECASE)
_USER_INFO = re.compile(r"//[^@/\s]*@")
_SIZE = re.compile(r"([0-9]+) ?(KiB|MiB|GiB|TiB)")
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


class Given(NamedTuple):
    """A value as written, and where."""

    value: Any
    source: str


def load(
    config: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides | None = None,
    offers: Overrides | None = None,
) -> Settings:
    """Settings from the defaults, `config` (or TICKBUS_CONFIG), the environment and `overrides`.

    `offers`: what stands in the place of a default; everything else goes before it. Fatal with one
    line for each mistake: an unreadable file, unknown keys, wrong values.
    """
    environ = os.environ if environ is None else environ
    config = config or environ.get("TICKBUS_CONFIG") or None
    given: dict[str, Given] = {}
    mistakes: list[str] = []
    for key, value in (offers or {}).items():
        given[key] = Given(value, "the venue")
    if config is not None:
        _take_file(Path(config), given)
    _take_environment(environ, given, mistakes)
    for key, value in (overrides or {}).items():
        given[key] = Given(value, "command line")
    settings = _build(given, mistakes)
    if mistakes:
        raise Fatal(f"{len(mistakes)} wrong setting(s)\n  " + "\n  ".join(mistakes))
    return settings


def environment(values: Overrides) -> dict[str, str]:
    """The same values as environment variables, for a child process."""
    return {
        env_name(key): value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in values.items()
    }


def env_name(key: str) -> str:
    """`ingest.tickers` is TICKBUS_INGEST__TICKERS."""
    return PREFIX + key.replace(".", "__").upper()


def redact(text: str) -> str:
    """The text without the user and password of any URL in it."""
    return _USER_INFO.sub("//", text)


def _take_file(path: Path, given: dict[str, Given]) -> None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Fatal(f"settings file {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Fatal(f"settings file {path} is not TOML: {error}") from None
    for name, value in document.items():
        if isinstance(value, dict) and name in _sections:
            for key, inner in value.items():
                given[f"{name}.{key}"] = Given(inner, str(path))
        else:
            given[name] = Given(value, str(path))


def _take_environment(
    environ: Mapping[str, str], given: dict[str, Given], mistakes: list[str]
) -> None:
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".", 1)
        if key not in KEYS:
            mistakes.append(_unknown(key, name))
            continue
        given[key] = Given(from_text(key, text), name)


def from_text(key: str, text: str) -> Any:
    """The value of a text: a list has commas (venues: semicolons) or is JSON; others stay text."""
    field = KEYS.get(key)
    if field is None or not isinstance(_plain(field.type), types.ListType):
        return text
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text  # refused later, with what is allowed
    between = ";" if key == "venues" else ","  # an item of that list has commas itself
    return [part.strip() for part in text.split(between) if part.strip()]


def _build(given: dict[str, Given], mistakes: list[str]) -> Settings:
    values: dict[str, Any] = {}
    for key, (value, source) in given.items():
        field = KEYS.get(key)
        if field is None:
            mistakes.append(_unknown(key, source))
            continue
        try:
            section, _, name = key.rpartition(".")
            place = values.setdefault(section, {}) if section else values
            place[name] = _convert(key, value, field)
        except (msgspec.ValidationError, Reject) as error:
            why = str(error) if isinstance(error, Reject) else allowed(field.type)
            shown = "***" if key in SECRETS else redact(repr(value)[:200])
            mistakes.append(f"{key} = {shown} ({source}): {why}")
    return msgspec.convert(values, Settings)


def _convert(key: str, value: Any, field: msgspec.structs.FieldInfo) -> Any:
    size = _SIZE.fullmatch(value) if isinstance(value, str) and key.endswith("_bytes") else None
    if size:
        value = int(size[1]) * _UNITS[size[2]]
    # A text becomes a number or a switch only if it comes from the environment.
    converted = msgspec.convert(value, field.type, strict=not isinstance(value, str))
    if isinstance(converted, float) and not math.isfinite(converted):
        raise Reject(allowed(field.type))
    check = _CHECKS.get(key)
    if check:
        check(converted)
    return converted


def _unknown(key: str, source: str) -> str:
    if key in GONE:
        return f"{key} ({source}): {GONE[key]}"
    near = difflib.get_close_matches(key, [*KEYS, *_sections], n=1, cutoff=0.6)
    if not near:  # the right name in the wrong section
        near = [known for known in KEYS if known.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    hint = f"did you mean {near[0]}?" if near else f"sections: {', '.join(_sections)}"
    return f"{key} ({source}): there is no such setting; {hint}"


def allowed(kind: Any) -> str:
    """What a type takes, in words: `a whole number, at least 1`."""
    info = _plain(kind)
    if isinstance(info, (types.IntType, types.FloatType)):
        name = "a whole number" if isinstance(info, types.IntType) else "a number"
        limits = [(info.ge, "at least"), (info.gt, "above"), (info.le, "at most")]
        return ", ".join([name, *(f"{word} {n}" for n, word in limits if n is not None)])
    if isinstance(info, types.LiteralType):
        return "one of " + ", ".join(map(str, info.values))
    if isinstance(info, types.ListType):
        return f"a list, each {allowed(info.item_type)}"
    return "true or false" if isinstance(info, types.BoolType) else "text"


def _plain(kind: Any) -> types.Type:
    """The type without its metadata."""
    info = kind if isinstance(kind, types.Type) else types.type_info(kind)
    while isinstance(info, types.Metadata):
        info = info.type
    return info


def _check_url(url: str) -> None:
    if not all(_URL.match(part.strip()) for part in url.split(",")):
        raise Reject("a NATS address such as nats://127.0.0.1:4222")


def _check_shard(shard: str) -> None:
    if shard:
        subjects.fence(shard)


def _check_exchange(token: str) -> None:
    try:
        Exchange.from_token(token)
    except Reject as error:
        from tickbus_runtime.settings.built import unknown  # only after a mistake: it is slow

        raise Reject(unknown(token) or str(error)) from None


def _check_shards(shards: list[str]) -> None:
    for text in shards:
        _check_shard(shard_of(text).name)
    if len({shard_of(text).name for text in shards}) < len(shards):
        raise Reject("each shard once")


def _check_instance(name: str) -> None:
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise Reject("small letters, digits, _ and -")


def _check_intervals(intervals: list[str]) -> None:
    if not intervals:
        raise Reject("at least one interval such as 100ms")
    for interval in intervals:
        subjects.interval_ms(interval)


def _check_feeds(feeds: list[str]) -> None:
    if not feeds:
        raise Reject(f"at least one of {', '.join(_FEEDS)}; without the setting, the usual ones")


def _check_web(schemes: str) -> Callable[[str], None]:
    def check(url: str) -> None:
        if url and url.partition("://")[0] not in schemes.split():
            raise Reject(f"an address that begins with {' or '.join(schemes.split())}")

    return check


_CHECKS: dict[str, Callable[[Any], object]] = {
    "shard": _check_shard,
    "shards": _check_shards,
    "instance": _check_instance,
    "nats.url": _check_url,
    "ingest.exchange": _check_exchange,
    "ingest.feeds": _check_feeds,
    "ingest.ws_url": _check_web("ws wss"),
    "ingest.rest_url": _check_web("http https"),
    "alerts.telegram_url": _check_web("http https"),
    "book.intervals": _check_intervals,
    "features.intervals": _check_intervals,
}


def _all_keys() -> tuple[dict[str, type[Section]], dict[str, msgspec.structs.FieldInfo]]:
    sections: dict[str, type[Section]] = {}
    keys: dict[str, msgspec.structs.FieldInfo] = {}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            sections[field.name] = field.type
            for inner in msgspec.structs.fields(field.type):
                keys[f"{field.name}.{inner.name}"] = inner
        else:
            keys[field.name] = field
    return sections, keys


_sections, KEYS = _all_keys()
