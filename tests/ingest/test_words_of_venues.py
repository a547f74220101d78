"""No word of any venue outside the venues' own files: names, hosts and channels are data there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tickbus_ingest.exchanges import load, names
from tickbus_schemas.exchanges import Exchange

ROOT = Path(__file__).parents[2]
INGEST = ROOT / "services" / "ingest" / "tickbus_ingest"
OTHERS = [
    ROOT / place
    for place in (
        "client/tickbus", "runtime/tickbus_runtime", "services/writer/tickbus_writer",
        "services/book/tickbus_book", "services/features/tickbus_features",
    )
]  # fmt: skip
OWN = ("services/ingest/tickbus_ingest/exchanges/", "services/ingest/tickbus_ingest/commands/")
"""Where venues are described, and the commands about them, whose help shows examples."""
EXAMPLES = ("client/tickbus/cli/", "runtime/tickbus_runtime/commands/")
"""Help texts show commands, and a command names an exchange."""
DEFAULT = "runtime/tickbus_runtime/settings/sections.py"
"""The exchange that is taken when nobody names one."""


def exchange_words() -> set[str]:
    """Tokens of all exchanges, and the companies behind them."""
    tokens = {exchange.token for exchange in Exchange}
    return tokens | {token.partition("_")[0] for token in tokens}


def host_words() -> set[str]:
    """The hosts of the venues, without what comes before the company's name."""
    urls = [url for one in names() for url in (*load(one).websocket_urls, *load(one).rest_urls)]
    return {".".join((urlsplit(url).hostname or "").split(".")[-2:]) for url in urls}


def channel_words() -> set[str]:
    """Channels with names of their own, such as `aggTrade`; not `trades`, which is English."""
    found: set[str] = set()
    for token in names():
        channels = getattr(load(token), "channels", {})
        for value in channels.values():
            for name in [value] if isinstance(value, str) else value:
                found.update(re.findall(r"[a-z]+[A-Z][A-Za-z]+", str(name)))
    return found


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, word) of every name and text in a file's code; documentation is not code."""
    tree = ast.parse(path.read_text())
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            if isinstance(node.value, str | bytes):
                yield node.lineno, str(node.value)
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def found_in(folder: Path, words: set[str], *, but: tuple[str, ...] = ()) -> list[str]:
    """Where the words stand in a folder's code."""
    pattern = re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)), re.I)
    found = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(but):
            for line, word in words_of(path):
                if hit := pattern.search(word):
                    found.append(f"{name}:{line}: {hit[0]}")
    return found


def test_there_are_words_to_look_for() -> None:
    assert {"binance", "okx"} <= exchange_words()
    assert "binance.com" in host_words()
    assert {"aggTrade", "bookTicker"} <= channel_words()
    own = found_in(INGEST / "exchanges", exchange_words() | host_words() | channel_words())
    assert len(own) > 50, "the search finds them where they are"


def test_ingest_knows_no_venue_outside_exchanges() -> None:
    words = exchange_words() | host_words() | channel_words()
    assert found_in(INGEST, words, but=OWN) == []


@pytest.mark.parametrize("folder", OTHERS, ids=lambda folder: folder.name)
def test_no_other_package_knows_how_a_venue_speaks(folder: Path) -> None:
    assert found_in(folder, host_words() | channel_words()) == []


@pytest.mark.parametrize("folder", OTHERS, ids=lambda folder: folder.name)
def test_no_other_package_does_anything_for_one_exchange(folder: Path) -> None:
    assert found_in(folder, exchange_words(), but=(*EXAMPLES, DEFAULT)) == []


def test_one_exchange_is_the_default_and_stands_once() -> None:
    found = found_in((ROOT / DEFAULT).parent, exchange_words())
    assert len(found) == 1, found
