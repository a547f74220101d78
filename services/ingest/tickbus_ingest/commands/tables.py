"""Tables of the documents that the venues' files say: `python -m tickbus_ingest.commands.tables`.

Each stands between two marker comments, `<!-- NAME -->` and `<!-- /NAME -->`. `make docs` writes
them, and a test proves that they are current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest import exchanges
from tickbus_ingest.commands.facts import Facts, facts
from tickbus_ingest.venue.contract import Evidence

ROOT = Path(__file__).parents[4]


def exchange_table(found: list[Facts], planned: list[str]) -> str:
    """The exchanges: code, status word, feeds, rules; then what is planned, and the words."""
    lines = [
        "| exchange | code | status | feeds | books | updates | trade ids | two lines |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one['exchange']}` | {one['code']} | {one['status']} | {', '.join(one['feeds'])} "
        f"| {one['books']['rule']} | {one['update_ids']['rule']} | {one['trade_ids']['rule']} "
        f"| {'merged' if one['numbering_is_global'] else 'one leads'} |"
        for one in found
    ]
    if planned:
        lines.append(
            f"| {' '.join(f'`{token}`' for token in planned)} "
            "| [table](schemas/tickbus_schemas/exchanges.py) | planned: code reserved, nothing "
            "built | | | | | |"
        )
    words = "; ".join(f"*{word.value}*: {word.meaning}" for word in Evidence)
    lines += ["", f"{words}."]
    return "\n".join(lines)


def units_table(found: list[Facts]) -> str:
    """What a unit of `qty` and of `turnover` is."""
    lines = ["| venue | a unit of `qty` | `turnover` of a ticker |", "|---|---|---|"]
    lines += [
        f"| `{one['exchange']}`{' ' + unit['of'] if unit['of'] else ''} "
        f"| {unit['qty']} | {unit['turnover']} |"
        for one in found
        for unit in one["units"]
    ]
    return "\n".join(lines)


def tables() -> dict[str, dict[str, str]]:
    """Document below the root -> name of a table in it -> its text."""
    found = sorted(
        (facts(exchanges.load(token)) for token in exchanges.names()),
        key=lambda one: int(one["code"]),
    )
    built = {one["exchange"] for one in found}
    planned = [one.token for one in Exchange if one.token not in built]
    return {
        "README.md": {"exchanges": exchange_table(found, planned)},
        "schemas/README.md": {"units": units_table(found)},
    }


def written(document: str, name: str, table: str) -> str:
    """The document with this text between the markers of that name; Fatal where they are not."""
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = document.partition(first)
    _, closed, after = rest.partition(last)
    if not found or not closed:
        raise Fatal(f"no table {name}: write {first.strip()} and {last} where it belongs")
    return f"{before}{first}{table}\n{last}{after}"


def documents(root: Path = ROOT) -> dict[Path, str]:
    """The documents with their tables made anew."""
    found = {}
    for name, own in tables().items():
        document = (root / name).read_text(encoding="utf-8")
        for table, text in own.items():
            document = written(document, table, text)
        found[root / name] = document
    return found


def main() -> int:
    """Write the documents; 1 with one line when that is not possible."""
    try:
        for path, text in documents().items():
            path.write_text(text, encoding="utf-8")
    except (Fatal, OSError) as error:
        print(f"tickbus_ingest.commands.tables: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
