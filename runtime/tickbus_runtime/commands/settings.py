"""`tickbus settings`: every setting with its variable, default, unit and meaning, and its value."""

from __future__ import annotations

import argparse
import difflib
import json
from typing import Any

from tickbus_schemas.errors import Fatal

from tickbus_runtime.settings.listed import Listed, listed
from tickbus_runtime.settings.sources import SECRETS, load, redact

help = "every setting: name, environment variable, default, unit, meaning"

SECRET = "(set, not shown)"

_EXAMPLES = """\
examples:
  tickbus settings                            all of them
  tickbus settings ingest writer.root         a section, and one setting
  tickbus settings --config tickbus.toml      with the values that a run would have
  tickbus settings --json | jq -r '.settings[] | [.name, .variable, .default] | @tsv'

A settings file is TOML: a setting "ingest.raw" stands as "raw" below [ingest]. Its environment
variable goes before the file, and 'tickbus up --set ingest.raw=false' before both.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    parser.add_argument("name", nargs="*", metavar="NAME", help="only this setting or section")
    parser.add_argument("--config", metavar="FILE", help="settings (TOML)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    settings = load(args.config)
    chosen = [one for one in listed() if _wanted(one, args.name)]
    _refuse_unknown(args.name)
    values = {one.name: _value(settings, one.name) for one in chosen}
    if args.json:
        rows = [{**one._asdict(), "value": values[one.name]} for one in chosen]
        print(json.dumps({"settings": rows}))
    else:
        print("\n".join(line for one in chosen for line in described(one, values[one.name])))
    return 0


def _wanted(one: Listed, names: list[str]) -> bool:
    return not names or one.name in names or one.section in names


def _refuse_unknown(names: list[str]) -> None:
    every = listed()
    known = {one.name for one in every} | {one.section for one in every if one.section}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "'tickbus settings' lists them"
            raise Fatal(f"there is no setting or section {name[:80]!r}: {hint}")


def _value(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = getattr(settings, part)
    if name in SECRETS and settings:
        return SECRET
    return redact(settings) if isinstance(settings, str) else settings


def described(one: Listed, value: Any) -> list[str]:
    """Two lines a setting, a third where its value is not the default."""
    unit = f" {one.unit}" if one.unit else ""
    lines = [
        f"{one.name} = {json.dumps(one.default)}{unit}",
        f"    {one.meaning}; {one.allowed}; {one.variable}",
    ]
    if value != one.default:
        lines.append(f"    now {json.dumps(value)}")
    return lines
