"""README.md says what every field means, and the generated documents are current and sound."""

from __future__ import annotations

import json
import re
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus_schemas import documents, messages
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS
from tickbus_schemas.messages import MESSAGES, Header
from tickbus_schemas.plain import plain

from tests.schemas import strategies

FOLDER = Path(__file__).parents[2] / "schemas"
README = (FOLDER / "README.md").read_text()
SECTIONS = documents.meanings(README)
every_type = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
TYPES = {"<i8": "i64", "<f8": "f64", "<i4": "i32", "<u2": "u16", "<i1": "i8"}
PER = {"rows": "row", "rows+1": "row + 1", "levels": "level", "rows*depth": "row and level"}


@every_type
def test_readme_says_of_every_field_what_it_means(kind: type[Header]) -> None:
    header = list(SECTIONS["Header"].fields)
    assert list(kind.__struct_fields__) == header + list(SECTIONS[kind.__name__].fields)
    for field in SECTIONS[kind.__name__].fields.values():
        assert field.type
        assert field.text


@every_type
def test_readme_has_the_types_of_the_columns(kind: type[Header]) -> None:
    for name, width in kind.columns.items():
        expected = "text" if width.per == "text" else f"{TYPES[width.code]} a {PER[width.per]}"
        assert SECTIONS[kind.__name__].fields[name].type == expected


@every_type
def test_readme_has_the_value_that_stands_for_an_absent_one(kind: type[Header]) -> None:
    written = {"nan": "NaN", str(messages.ABSENT): "-2**63", "0": "0"}
    for name, width in kind.columns.items():
        said = SECTIONS[kind.__name__].fields[name].absent
        if width.absent is not None:
            assert said == written[str(width.absent)]
        else:
            assert said in ("", "0")  # such as an unknown side


@every_type
def test_readme_has_the_number_of_the_type(kind: type[Header]) -> None:
    number = kind.__struct_config__.tag
    assert SECTIONS[kind.__name__].text.startswith(f"Type {number}. ")


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its first two lines."""
    body = re.split(rf"^#+ {heading}$", README, flags=re.MULTILINE)[1]
    lines = [
        line for line in re.split(r"^#", body, flags=re.MULTILINE)[0].splitlines() if "|" in line
    ]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_readme_has_the_exchange_table() -> None:
    assert [(int(code), name) for code, name in table("Exchanges")] == [
        (int(exchange), exchange.token) for exchange in Exchange
    ]


def test_readme_has_every_flag() -> None:
    quality = messages.BookFlag
    flags: dict[str, list[IntFlag]] = {
        feed.name if column == "flags" else f"{feed.name} `{column}": [*bits]
        for feed in FEEDS
        for column, bits in feed.kind.bits.items()
        if bits is not quality
    }
    flags["book, bar, feature"] = [flag for flag in quality if flag is not quality.FILLED]
    flags["bar"] = [quality.FILLED]
    assert [(on, int(bit), name) for on, bit, name, _ in table("Flags")] == [
        (on, int(flag), str(flag.name).lower()) for on, some in flags.items() for flag in some
    ]


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Status kinds", messages.StatusKind),
        ("Kinds of instruments", messages.InstrumentKind),
        ("States of instruments", messages.InstrumentStatus),
    ],
)
def test_readme_has_every_code(heading: str, codes: type[IntEnum]) -> None:
    assert [(int(code), name) for code, name, _ in table(heading)] == [
        (int(code), code.name.lower()) for code in codes
    ]


def test_readme_has_every_limit() -> None:
    limits = " ".join(cell for row in table("Limits") for cell in row)
    for limit in (
        messages.MAX_MESSAGE_BYTES,
        messages.MAX_ROWS,
        messages.MAX_DEPTH,
        messages.MAX_TEXT,
        messages.MAX_EPOCH,
    ):
        assert f"{limit:,}" in limits


def test_generated_documents_are_current() -> None:
    for path, text in documents.documents(FOLDER).items():
        assert path.read_text() == text, f"{path.name} is out of date: run 'make docs'"


def test_a_field_that_readme_does_not_explain_stops_the_generator() -> None:
    line = next(line for line in README.splitlines() if line.startswith("| `signed_volume`"))
    with pytest.raises(Fatal, match=r"does not say what BarBatch\.signed_volume means"):
        documents.json_schema(README.replace(line + "\n", ""))


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((FOLDER / "json-schema.json").read_text())


def test_the_json_schema_is_one(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@every_type
@settings(max_examples=20)
@given(data=st.data())
def test_the_decoded_form_of_a_message_is_what_the_schema_says(
    kind: type[Header], data: st.DataObject
) -> None:
    # Through JSON and back: what a program in another language would see.
    decoded = json.loads(json.dumps(plain(data.draw(strategies.messages(kind))), allow_nan=False))
    validator(kind).validate(decoded)


_VALIDATORS: dict[str, jsonschema.Draft202012Validator] = {}


def validator(kind: type[Header]) -> jsonschema.Draft202012Validator:
    """Of one message type; `oneOf` over all of them would try each."""
    if kind.__name__ not in _VALIDATORS:
        definition = json.loads((FOLDER / "json-schema.json").read_text())["$defs"][kind.__name__]
        _VALIDATORS[kind.__name__] = jsonschema.Draft202012Validator(definition)
    return _VALIDATORS[kind.__name__]


def test_the_schema_refuses_what_is_no_message(schema: Any) -> None:
    whole = jsonschema.Draft202012Validator(schema)
    fence = plain(
        messages.Fence(exchange=2, ticker="", epoch=1, message_no=0, timestamp=1, owner="x")
    )
    assert whole.is_valid(fence)
    for spoilt in ({"schema": 2}, {"exchange": 99}, {"type": "Gate"}, {"epoch": -1}, {"owner": 7}):
        assert not whole.is_valid(fence | spoilt)
    del fence["owner"]
    assert not whole.is_valid(fence)


def test_every_field_has_its_place_on_the_wire(schema: Any) -> None:
    for kind in MESSAGES:
        positions: list[int] = []
        for name, shape in schema["$defs"][kind.__name__]["properties"].items():
            if name != "type":
                place = shape["x-position"]
                positions += place if isinstance(place, list) else [place]
        assert positions == list(range(1, len(msgspec.structs.fields(kind)) + 1))


# What AsyncAPI 3.0.0 asks of the parts that we use. The official schema (360 kB) accepts the
# document too: npm package @asyncapi/specs, schemas/3.0.0-without-$id.json.
_TEXT = {"type": "string"}
_REFERENCE = {
    "type": "object",
    "required": ["$ref"],
    "additionalProperties": False,
    "properties": {"$ref": _TEXT},
}
_STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["asyncapi", "info", "channels", "operations", "components"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "defaultContentType": _TEXT,
        "servers": {"additionalProperties": {"required": ["host", "protocol"]}},
        "channels": {
            "additionalProperties": {
                "additionalProperties": False,
                "required": ["address", "messages"],
                "properties": {
                    "address": _TEXT,
                    "title": _TEXT,
                    "description": _TEXT,
                    "messages": {"additionalProperties": _REFERENCE, "minProperties": 1},
                    "parameters": {"additionalProperties": _REFERENCE},
                },
            }
        },
        "operations": {
            "additionalProperties": {
                "additionalProperties": False,
                "required": ["action", "channel"],
                "properties": {
                    "action": {"enum": ["send", "receive"]},
                    "channel": _REFERENCE,
                    "messages": {"type": "array", "items": _REFERENCE},
                },
            }
        },
        "components": {
            "additionalProperties": False,
            "properties": {
                "schemas": {"additionalProperties": {"type": "object"}},
                "messages": {
                    "additionalProperties": {
                        "additionalProperties": False,
                        "required": ["payload"],
                        "properties": {
                            **dict.fromkeys(("name", "title", "summary", "contentType"), _TEXT),
                            "headers": _REFERENCE,
                            "payload": _REFERENCE,
                        },
                    }
                },
                "parameters": {
                    "additionalProperties": {
                        "additionalProperties": False,
                        "properties": {
                            "description": _TEXT,
                            "enum": {"items": _TEXT},
                            "examples": {"items": _TEXT},
                        },
                    }
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def asyncapi() -> Any:
    return json.loads((FOLDER / "asyncapi.json").read_text())


def references(node: Any) -> list[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in references(value)]
    return [ref for value in node for ref in references(value)] if isinstance(node, list) else []


def test_the_asyncapi_document_has_the_structure_of_one(asyncapi: Any) -> None:
    jsonschema.Draft202012Validator(_STRUCTURE).validate(asyncapi)
    for definition in asyncapi["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(definition)  # the form AsyncAPI 3 assumes


def test_every_reference_leads_somewhere(asyncapi: Any) -> None:
    found = references(asyncapi)
    assert found
    for reference in found:
        node = asyncapi
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_message_has_a_channel_stored_live_and_replayed(asyncapi: Any) -> None:
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}
    for kind in MESSAGES:
        (stored,) = (
            channel["address"]
            for name, channel in asyncapi["channels"].items()
            if name == f"stored{kind.__name__}"
        )
        assert {stored, f"live.{stored}", f"replay.{{job}}.{stored}"} <= addresses
    assert len(addresses) == 3 * len(MESSAGES)


def test_every_parameter_of_an_address_is_explained(asyncapi: Any) -> None:
    for channel in asyncapi["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])


def test_the_headers_are_those_that_we_set_and_the_servers(asyncapi: Any) -> None:
    headers = set(asyncapi["components"]["schemas"]["Headers"]["properties"])
    assert {
        "Nats-Msg-Id",
        "traceparent",
        "In-Seq",
        "Nats-Sequence",
        "Nats-Last-Sequence",
    } <= headers
