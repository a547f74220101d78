"""`tickbus <command>`: finds the command, runs it, and reports an error in one line.

A command is an entry point of the group `tickbus.commands` in any installed distribution: a module
(or object) with `help: str`, `configure(parser)` and `run(args) -> int`. Its module is imported
only when the command is used, so `tickbus --help` stays fast however much is installed.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from tickbus_schemas.errors import Fatal, TickbusError

from tickbus.cli.entry import EXIT_INTERRUPTED

GROUP = "tickbus.commands"
EXIT_FAILED, EXIT_USAGE, EXIT_BROKEN_PIPE = 1, 2, 141

_EXAMPLES = """\
examples:
  tickbus demo                                      everything on this machine, no network
  tickbus up --exchange binance_usdm --tickers BTCUSDT --data ./data
  tickbus tail 'live.md.binance_usdm.BTCUSDT.trade' --rows
  tickbus <command> --help                          options and examples of a command

TICKBUS_DEBUG=1 shows the traceback behind an error.
"""


class Command(Protocol):
    """What an entry point of `tickbus.commands` must offer."""

    @property
    def help(self) -> str:
        """One line for `tickbus --help`."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add arguments and, as `parser.epilog`, examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named by `arguments` (default: the process's own); the exit code.

    Our errors give one line on stderr and code 1, wrong usage 2, Ctrl-C 130, and a closed output
    pipe 141 (as SIGPIPE would).
    """
    try:
        code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit: that must not fail again, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except SystemExit as left:  # argparse printed its own line
        return left.code if isinstance(left.code, int) else EXIT_USAGE
    except Exception as error:
        if os.environ.get("TICKBUS_DEBUG"):
            raise
        print(f"tickbus: {_one_line(error)}", file=sys.stderr)
        return EXIT_FAILED


def _dispatch(arguments: list[str]) -> int:
    commands = find_commands()
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(commands), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else EXIT_USAGE
    name, *rest = arguments
    if name in ("-V", "--version"):
        print(f"tickbus {version('tickbus')}")
        return 0
    if name not in commands:
        print(f"tickbus: {_unknown(name, commands)}", file=sys.stderr)
        return EXIT_USAGE
    command = _load(commands[name])
    parser = argparse.ArgumentParser(
        prog=f"tickbus {name}",
        description=command.help,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation in a script would break when an option is added
    )
    command.configure(parser)
    return command.run(parser.parse_args(rest))


def find_commands() -> dict[str, EntryPoint]:
    """The installed commands by name, in order of name; nothing is imported."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    return dict(sorted(found.items()))


def _load(point: EntryPoint) -> Command:
    """The command itself; Fatal when a library that it needs is not installed."""
    try:
        return cast(Command, point.load())
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("tickbus") and package != "tickbus_runtime":
            raise
        raise Fatal(
            f"'{point.name}' needs {package}, which is not installed: pip install 'tickbus[all]'"
        ) from error


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {_help_line(point)}" for name, point in commands.items()]
    return "\n".join(
        [
            "usage: tickbus [--help] [--version] <command> ...",
            "",
            "Market data as a bus: every packet, from the socket to Parquet and features.",
            "",
            "commands:",
            *lines,
            "",
            _EXAMPLES,
        ]
    )


def _help_line(point: EntryPoint) -> str:
    """The command's `help`, read from its source: importing would load what the command needs."""
    source = _source(point.module)
    if source is None:
        return "(not installed completely)"
    for node in ast.parse(source.read_bytes()).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="help")], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id="help"), value=ast.Constant(value=str(text)))
            ):
                return text
    return cast(Command, point.load()).help


def _source(module: str) -> Path | None:
    """The file of a module, found without importing the packages that it lies in."""
    top, *inner = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not inner:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*inner)
        for source in (base.with_suffix(".py"), base / "__init__.py"):
            if source.is_file():
                return source
    return None


def _unknown(name: str, commands: dict[str, EntryPoint]) -> str:
    from difflib import get_close_matches  # imported only after a mistake

    near = get_close_matches(name, commands, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "'tickbus --help' lists them"
    return f"unknown command {name!r}: {remedy}"


def _one_line(error: Exception) -> str:
    if isinstance(error, TickbusError):
        text = str(error)
        if "\n  " in text:  # an indented list: several mistakes at once
            return text
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror}"
    else:
        text = f"unexpected {type(error).__name__}: {error} (TICKBUS_DEBUG=1 shows where)"
    return " ".join(text.split())
