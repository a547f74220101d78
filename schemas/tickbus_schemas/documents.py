"""Writes `json-schema.json` and `asyncapi.json` from the message types and the tables of README.md.

https://json-schema.org/draft/2020-12 and https://www.asyncapi.com/docs/reference/specification/v3.0.0
Types, order and bounds come from the code, meanings and units from the README: each is said once.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tickbus_schemas import subjects
from tickbus_schemas.columns import Width
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS, Feed
from tickbus_schemas.messages import MESSAGES, SCHEMA, Header, Severity

FOLDER = Path(__file__).parents[1]
Json = dict[str, Any]

_ROW = re.compile(r"\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|(.*)\|")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


class Meaning(NamedTuple):
    """What README.md says about a field."""

    type: str
    unit: str
    absent: str
    text: str


class Section(NamedTuple):
    """What README.md says about a message."""

    text: str
    fields: dict[str, Meaning]


def meanings(readme: str) -> dict[str, Section]:
    """The README's sections by message name; a table row is a field."""
    sections = {}
    for part in re.split(r"^## ", readme, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        rows = [_ROW.fullmatch(line) for line in body.splitlines()]
        found = {
            row[1]: Meaning(*(_clean(cell) for cell in row.groups()[1:])) for row in rows if row
        }
        sections[name] = Section(_clean(body.strip().partition("\n")[0]), found)
    return sections


def _clean(cell: str) -> str:
    return _LINK.sub(r"\1", cell.strip())


def json_schema(readme: str) -> Json:
    """JSON Schema of the decoded form (`plain`) of every message."""
    sections = meanings(readme)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tickbus:messages:{SCHEMA}",
        "title": "tickbus messages, decoded",
        "description": (
            "On the wire a message is a msgpack array: x-tag, then the fields in the order of "
            "x-position; a column is the little-endian bytes of its values (x-wire)."
        ),
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in MESSAGES],
        "$defs": {kind.__name__: _object(kind, sections) for kind in MESSAGES},
    }


def _object(kind: type[Header], sections: dict[str, Section]) -> Json:
    section = sections[kind.__name__]
    known = sections["Header"].fields | section.fields
    properties: Json = {"type": {"const": kind.__name__}}
    for position, field in enumerate(msgspec.structs.fields(kind), start=1):
        if field.name not in known:
            raise Fatal(f"README.md does not say what {kind.__name__}.{field.name} means")
        meaning = known[field.name]
        text, _, part = field.name.rpartition("_")
        if text not in kind.texts:
            properties[field.name] = _property(kind, field, meaning, position)
        elif part == "bytes":  # two wire columns are one text column in the decoded form
            properties[text] = _text(meaning, position)
    return {
        "title": kind.__name__,
        "description": section.text,
        "type": "object",
        "x-tag": kind.__struct_config__.tag,
        "required": [*properties],
        "properties": properties,
    }


def _property(
    kind: type[Header], field: msgspec.structs.FieldInfo, meaning: Meaning, position: int
) -> Json:
    width = kind.columns.get(field.name)
    shape = _column(width, meaning) if width else _scalar(field, meaning)
    notes: Json = {"x-position": position}
    if field.name in kind.codes:
        names = kind.codes[field.name].names
        notes["x-codes"] = {str(code): name for code, name in names.items()}
    if field.name in kind.bits:
        notes["x-bits"] = {str(bit.value): bit.name for bit in kind.bits[field.name]}
    if meaning.unit:
        notes["x-unit"] = meaning.unit
    if meaning.absent:
        notes["x-absent-on-the-wire"] = meaning.absent.strip("`")
    return {"description": meaning.text, **shape, **notes}


_ITEM: dict[str, Json] = {
    "<i8": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "<i4": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "<u2": {"type": "integer", "minimum": 0, "maximum": 2**16 - 1},
    "<i1": {"type": "integer", "minimum": -128, "maximum": 127},
    "<f8": {"type": "number"},
}


def _nullable(item: Json, meaning: Meaning) -> Json:
    """Absent integers and NaN are null in the decoded form; other absent values stay."""
    if meaning.absent in ("-2**63", "NaN"):
        return {**item, "type": [item["type"], "null"]}
    return item


def _column(width: Width, meaning: Meaning) -> Json:
    array: Json = {"type": "array", "items": _nullable(_ITEM[width.code], meaning)}
    if width.per == "rows*depth":
        array = {"type": "array", "items": array}
    return {**array, "x-wire": {"dtype": width.code, "per": width.per}}


def _text(meaning: Meaning, position: int) -> Json:
    return {
        "description": meaning.text,
        "type": "array",
        "items": {"type": "string"},
        "x-position": [position - 1, position],
        "x-wire": {"dtype": ["<i4", "<i1"], "per": ["rows+1", "text"]},
    }


def _scalar(field: msgspec.structs.FieldInfo, meaning: Meaning) -> Json:
    match msgspec.inspect.type_info(field.type):
        case msgspec.inspect.IntType(ge=low, le=high):
            bounds = {"minimum": low, "maximum": high}
            shape: Json = {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}
            if field.name in ("schema", "exchange"):
                codes = [SCHEMA] if field.name == "schema" else [int(code) for code in Exchange]
                shape["enum"] = codes
            return _nullable(shape, meaning)
        case msgspec.inspect.FloatType():
            return _nullable({"type": "number"}, meaning)
        case msgspec.inspect.StrType(max_length=most):
            return {"type": "string", **({} if most is None else {"maxLength": most})}
        case msgspec.inspect.BoolType():
            return {"type": "boolean"}
        case msgspec.inspect.BytesType():
            return {"type": "string", "contentEncoding": "base64"}
        case msgspec.inspect.ListType(item_type=msgspec.inspect.StrType()):
            return {"type": "array", "items": {"type": "string"}}
        case msgspec.inspect.ListType(item_type=msgspec.inspect.BytesType()):
            column = _column(Width("<f8"), meaning)
            return {"type": "array", "items": {"type": "array", "items": column["items"]}} | {
                "x-wire": column["x-wire"]
            }
    raise Fatal(f"documents.py has no form for {field.name}: {field.type}")


def _address(feed: Feed) -> str:
    leaf = f"md.{{exchange}}.{{ticker}}.{feed.name}"
    return leaf if feed.stream == "md" else f"{feed.stream}.{{exchange}}.{{ticker}}.{{interval}}"


_ADDRESSES = {feed.kind.__name__: _address(feed) for feed in FEEDS} | {
    "Fence": "fence.{shard}",
    "Clock": "clock.{shard}",
    "DeadLetter": "dlq.{service}.{exchange}",
    "Alert": "alert.{severity}.{source}",
}
"""Address of each message's channel; `{...}` are the parameters below."""
_PARAMETERS: dict[str, Json] = {
    "exchange": {
        "description": "name of the exchange",
        "enum": [exchange.token for exchange in Exchange],
    },
    "ticker": {
        "description": "as the venue spells it; each byte outside [A-Za-z0-9_-] is written %XX",
        "examples": ["BTCUSDT", subjects.escape("BTC/USD")],
    },
    "interval": {
        "description": "<n>ms, <n>s, <n>m or <n>h that divides a day; a book also has `change`",
        "examples": ["100ms", "1s", "1m"],
    },
    "shard": {
        "description": "an exchange, or one of several parts of it",
        "examples": ["binance_usdm", "binance_usdm_2"],
    },
    "service": {"description": "who refused it", "examples": ["ingest", "writer"]},
    "severity": {
        "description": "how soon somebody must look",
        "enum": [severity.name.lower() for severity in Severity],
    },
    "source": {"description": "the service that tells it", "examples": ["ingest", "writer"]},
    "job": {"description": "name of the replay", "examples": ["backfill_7"]},
}
# Prefix of the address, word for names and titles, what it is.
_PLACES = (
    ("", "stored", "in its stream, complete: read it with a JetStream consumer"),
    ("live.", "live", "repeated by the server as soon as it is stored: lowest latency"),
    ("replay.{job}.", "replay", "published again by a replay"),
)


def asyncapi(readme: str) -> Json:
    """The AsyncAPI document of the bus, as a program sees it that reads from it."""
    channels: Json = {}
    operations: Json = {}
    for name, address in _ADDRESSES.items():
        for prefix, place, description in _PLACES:
            channel = f"{place}{name}"
            channels[channel] = _channel(name, prefix + address, description)
            operations[f"receive{channel[0].upper()}{channel[1:]}"] = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
            }
    definitions = json_schema(readme)["$defs"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tickbus",
            "version": f"{SCHEMA}.0.0",
            "description": "Market data as a bus. README.md says what every field means.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/msgpack",
        "servers": {"local": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": {**definitions, "Headers": _headers(readme)},
            "messages": {name: _message(name, definitions[name]) for name in _ADDRESSES},
            "parameters": _PARAMETERS,
        },
    }


def _channel(name: str, address: str, description: str) -> Json:
    used: Iterable[str] = re.findall(r"{(\w+)}", address)
    return {
        "address": address,
        "title": address.replace("{", "<").replace("}", ">"),
        "description": f"{name}, {description}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {word: {"$ref": f"#/components/parameters/{word}"} for word in used},
    }


def _message(name: str, definition: Json) -> Json:
    return {
        "name": name,
        "title": name,
        "summary": definition["description"],
        "contentType": "application/msgpack",
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _headers(readme: str) -> Json:
    """From the README's table: `| `name` | on | meaning |`."""
    _, _, body = readme.partition("\n## Headers\n")
    table = re.findall(
        r"^\| `([\w-]+)` \|([^|]*)\|(.*)\|$", body.partition("\n## ")[0], re.MULTILINE
    )
    return {
        "type": "object",
        "properties": {
            name: {
                "type": "string",
                "description": f"{_clean(meaning)} (on: {_clean(on)})".replace("`", ""),
            }
            for name, on, meaning in table
        },
    }


def documents(folder: Path = FOLDER) -> dict[Path, str]:
    """The text of every generated file, by where it belongs."""
    readme = (folder / "README.md").read_text()
    made = {"json-schema.json": json_schema(readme), "asyncapi.json": asyncapi(readme)}
    return {
        folder / name: json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        for name, document in made.items()
    }


def main() -> int:
    """Write the files; 1 with one line when that is not possible."""
    try:
        for path, text in documents().items():
            path.write_text(text)
            print(f"{path.name}: {len(text):,} bytes")
    except (Fatal, OSError) as error:
        print(f"tickbus_schemas.documents: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
