"""`tickbus doctor`: checks whether this machine has everything that a run needs."""

from __future__ import annotations

import argparse
import json

from tickbus_schemas.errors import Fatal

from tickbus_runtime.local.checks import Finding, findings
from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.settings.sources import load

help = "check this machine: Python, packages, NATS, ports, disk, clock, settings"

_EXAMPLES = """\
examples:
  tickbus doctor
  tickbus doctor --config tickbus.toml --data /srv/tickbus --json

The exit code is 1 when a check fails; a warning alone leaves it 0.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--config", metavar="FILE", help="settings (TOML)")
    parser.add_argument("--data", metavar="DIR", help="data folder")
    parser.add_argument("--nats", metavar="URL", help="server to check")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """1 when anything fails."""
    given = {"data_dir": args.data, "nats.url": args.nats}
    overrides = {key: value for key, value in given.items() if value is not None}
    found: list[Finding] = []
    try:
        settings = load(args.config, overrides=overrides)
        found.append(Finding("settings", "ok", args.config or "defaults and environment"))
    except Fatal as error:  # the other checks are still useful
        settings = Settings()
        found.append(Finding("settings", "fail", " ".join(str(error).split()), "correct them"))
    found += findings(settings)
    failed = any(finding.level == "fail" for finding in found)
    if args.json:
        print(json.dumps({"ok": not failed, "checks": [finding._asdict() for finding in found]}))
        return int(failed)
    for finding in found:
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        print(f"{finding.level:<5} {finding.check:<12} {finding.text}{remedy}")
    return int(failed)
