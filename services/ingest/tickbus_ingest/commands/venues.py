"""`tickbus venues`: the exchanges that can be recorded, as their files describe them."""

from __future__ import annotations

import argparse
import difflib
import json

from tickbus.cli import text
from tickbus_schemas.errors import Fatal

from tickbus_ingest import exchanges
from tickbus_ingest.commands.facts import Facts, facts, limit_words, numbering_words
from tickbus_ingest.venue.contract import Evidence

help = "the exchanges that are built: feeds, status, limits, rules of their numbers, units"

_EXAMPLES = """\
examples:
  tickbus venues                                 a line a venue
  tickbus venues deribit                         one in full: limits, units, documents
  tickbus venues okx --example > tickbus.toml    a settings file for 'tickbus up --config'
  tickbus venues okx kraken --example            the same for both at once
  tickbus venues --json | jq -r '.venues[] | select(.status == "works") | .exchange'

status: {words}
All of it comes from the venues' own files, services/ingest/tickbus_ingest/exchanges.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("venue", nargs="*", metavar="NAME", help="only these, in full")
    parser.add_argument("--example", action="store_true", help="a settings file (TOML)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = _EXAMPLES.format(words="; ".join(map(_word, Evidence)))


def _word(evidence: Evidence) -> str:
    return f"{evidence.value}: {evidence.meaning}"


def run(args: argparse.Namespace) -> int:
    """Print what is known of the venues."""
    found = [facts(exchanges.load(known(token))) for token in args.venue or exchanges.names()]
    if args.example:
        print(example(found))
    elif args.json:
        print(json.dumps({"venues": found}))
    elif args.venue:
        print("\n\n".join("\n".join(described(one)) for one in found))
    else:
        print(overview(found))
    return 0


def known(token: str) -> str:
    """The token itself; Fatal with the nearest and all that are built when it is none of them."""
    names = exchanges.names()
    if token in names:
        return token
    near = difflib.get_close_matches(token.lower(), names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? built are" if near else "built are"
    raise Fatal(f"there is no venue {token[:80]!r}: {hint} {', '.join(names)}")


def example(found: list[Facts]) -> str:
    """A settings file of one venue, or of several side by side."""
    lines = [
        "# tickbus up --config tickbus.toml   ('tickbus settings' lists all that may stand here)"
    ]
    lines += [f"# {one['exchange']}: {', '.join(one['feeds'])}" for one in found]
    lines += ['data_dir = "./data"']
    if len(found) > 1:
        lines += ["# EXCHANGE:TICKER,TICKER", "venues = ["]
        lines += [f'  "{one["exchange"]}:{",".join(one["examples"])}",' for one in found]
        lines += ["]", "", "[ingest]"]
    else:
        (one,) = found
        lines += ["", "[ingest]", f'exchange = "{one["exchange"]}"']
        lines += [f"tickers = {json.dumps(one['examples'])}"]
    every = dict.fromkeys(feed for one in found for feed in one["feeds"] if ":" not in feed)
    return "\n".join([*lines, f"feeds = {json.dumps([*every])}"])


def overview(found: list[Facts]) -> str:
    """A line a venue."""
    header = (">code", "exchange", "status", "books", "updates", "trade ids", "numbers", "feeds")
    rows = [
        [
            str(one["code"]),
            one["exchange"],
            one["status"],
            one["books"]["rule"],
            one["update_ids"]["rule"],
            one["trade_ids"]["rule"],
            "global" if one["numbering_is_global"] else "own",
            " ".join(one["feeds"]),
        ]
        for one in sorted(found, key=lambda one: int(one["code"]))
    ]
    return text.table(header, rows)


def described(one: Facts) -> list[str]:
    """All that is known of one venue."""
    lines = [f"{one['exchange']} (code {one['code']}): {one['status']}, {one['status_meaning']}"]
    facts = [
        ("feeds", [", ".join(one["feeds"])]),
        ("books", [f"{one['books']['rule']}: {one['books']['meaning']}"]),
        ("updates", [f"{one['update_ids']['rule']}: {one['update_ids']['meaning']}"]),
        ("trade ids", [f"{one['trade_ids']['rule']}: {one['trade_ids']['meaning']}"]),
        ("numbers", [numbering_words(one)]),
        ("qty", [_of(unit["of"], unit["qty"]) for unit in one["units"]]),
        ("turnover", [_of(unit["of"], unit["turnover"]) for unit in one["units"]]),
        ("limits", [limit_words(limit) for limit in one["limits"]]),
        ("connection", _connection(one)),
        ("WebSocket", one["websocket_urls"]),
        ("REST", one["rest_urls"]),
        ("documents", one["documents"]),
    ]
    for name, values in facts:
        names = [name, *[""] * (len(values) - 1)]
        lines += [f"  {title:<11} {value}" for title, value in zip(names, values, strict=False)]
    return lines


def _of(instruments: str, words: str) -> str:
    return f"{instruments}: {words}" if instruments else words


def _connection(one: Facts) -> list[str]:
    life_s, keepalive_s = one["connection_life_s"], one["keepalive_s"]
    said = [
        f"replaced before {text.duration(life_s)}" if life_s else "of any age",
        f"kept open by a message each {keepalive_s:g} s" if keepalive_s else "",
        f"packed in {one['compression']}" if one["compression"] != "none" else "",
    ]
    return [", ".join(filter(None, said))]
