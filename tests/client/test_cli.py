"""The dispatcher, run as users run it: commands come from distributions installed beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "greet": """\
        help = "say hello"

        def configure(parser):
            parser.add_argument("--name", required=True)
            parser.epilog = "examples:\\n  tickbus greet --name you"

        def run(args):
            print("hello", args.name)
            return 0
        """,
    "heavy": """\
        raise RuntimeError("imported although nobody asked for it")
        help: str = "costs much to import"
        """,
    "fails": """\
        from tickbus_schemas.errors import Fatal

        help = "cannot go on"

        def configure(parser): ...

        def run(args):
            raise Fatal("no server answers at\\nnats://127.0.0.1:1: start one with 'tickbus up'")
        """,
    "breaks": """\
        help = "has a mistake in it"

        def configure(parser): ...

        def run(args):
            return {}["no such key"]
        """,
    "unreadable": """\
        help = "opens a file that is not there"

        def configure(parser): ...

        def run(args):
            open("/no/such/file")
        """,
    "interrupted": """\
        help = "the user presses Ctrl-C"

        def configure(parser): ...

        def run(args):
            raise KeyboardInterrupt
        """,
    "endless": """\
        help = "prints until nobody reads"

        def configure(parser): ...

        def run(args):
            while True:
                print("x" * 1000)
        """,
    "lacking": """\
        import no_such_library_anywhere

        help = "needs a library that is not installed"
        """,
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder on the path with a distribution that brings the commands above."""
    lines = ["[tickbus.commands]"]
    for name, source in COMMANDS.items():
        code = "\n".join(line[8:] for line in source.splitlines())
        (tmp_path / f"installed_{name}.py").write_text(code)
        lines.append(f"{name} = installed_{name}")
    lines.append("lost = no_such_package.commands")
    folder = tmp_path / "installed_commands-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: installed-commands\nVersion: 1.0\n"
    )
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def tickbus(
    installed: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`tickbus <arguments>` in a process of its own, with the commands above installed."""
    return subprocess.run(
        [sys.executable, "-m", "tickbus.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(installed), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command_without_importing_one(installed: Path) -> None:
    done = tickbus(installed, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "greet" in done.stdout
    assert "say hello" in done.stdout
    assert "costs much to import" in done.stdout
    assert "examples:" in done.stdout


def test_help_survives_a_command_that_is_not_installed_completely(installed: Path) -> None:
    lines = tickbus(installed, "--help").stdout.splitlines()
    assert any("lost" in line and "not installed completely" in line for line in lines)


def test_help_imports_no_library_that_takes_long(installed: Path) -> None:
    code = (
        "import sys; from tickbus.cli.dispatch import main; main(['--help']);"
        "print(sorted({'nats', 'numpy', 'numba', 'polars', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = tickbus(tmp_path, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_command_gets_its_arguments_and_gives_the_exit_code(installed: Path) -> None:
    done = tickbus(installed, "greet", "--name", "Ada")
    assert (done.returncode, done.stdout) == (0, "hello Ada\n")


@pytest.mark.parametrize("spelling", [("greet", "--help"), ("help", "greet")])
def test_help_of_a_command_shows_its_examples_line_by_line(
    installed: Path, spelling: tuple[str, ...]
) -> None:
    done = tickbus(installed, *spelling)
    assert done.returncode == 0
    assert "usage: tickbus greet" in done.stdout
    assert "examples:\n  tickbus greet --name you" in done.stdout


def test_wrong_usage_ends_in_two_with_a_line_that_names_the_argument(installed: Path) -> None:
    done = tickbus(installed, "greet")
    assert done.returncode == 2
    assert "--name" in done.stderr.splitlines()[-1]


def test_no_command_shows_the_help_and_ends_in_two(installed: Path) -> None:
    done = tickbus(installed)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: tickbus" in done.stderr


def test_a_misspelled_command_is_answered_with_the_nearest_one(installed: Path) -> None:
    done = tickbus(installed, "gret")
    assert done.returncode == 2
    assert done.stderr == "tickbus: unknown command 'gret': did you mean 'greet'?\n"


def test_a_command_unlike_any_is_answered_with_where_they_are_listed(installed: Path) -> None:
    done = tickbus(installed, "qqqqqq")
    assert done.stderr == "tickbus: unknown command 'qqqqqq': 'tickbus --help' lists them\n"


def test_our_errors_are_one_line_and_code_one(installed: Path) -> None:
    done = tickbus(installed, "fails")
    assert done.returncode == 1
    assert done.stderr == (
        "tickbus: no server answers at nats://127.0.0.1:1: start one with 'tickbus up'\n"
    )


def test_a_foreign_error_is_one_line_that_says_how_to_see_more(installed: Path) -> None:
    done = tickbus(installed, "breaks")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "KeyError" in done.stderr
    assert "TICKBUS_DEBUG=1" in done.stderr


def test_debugging_shows_the_traceback(installed: Path) -> None:
    done = tickbus(installed, "breaks", env={"TICKBUS_DEBUG": "1"})
    assert "Traceback" in done.stderr


def test_a_missing_file_is_named(installed: Path) -> None:
    done = tickbus(installed, "unreadable")
    assert done.returncode == 1
    assert done.stderr == "tickbus: /no/such/file: No such file or directory\n"


def test_a_missing_library_is_named_with_the_remedy(installed: Path) -> None:
    done = tickbus(installed, "lacking")
    assert done.returncode == 1
    assert "needs no_such_library_anywhere" in done.stderr
    assert "pip install" in done.stderr


def test_ctrl_c_ends_in_130_without_a_traceback(installed: Path) -> None:
    done = tickbus(installed, "interrupted")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_reader_that_goes_away_ends_it_quietly(installed: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tickbus.cli", "endless"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


def test_the_version_is_that_of_the_installed_distribution(installed: Path) -> None:
    done = tickbus(installed, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("tickbus 0.")


def test_the_clients_own_commands_need_nats_py_and_msgspec_only() -> None:
    code = (
        "import sys, importlib;"
        "sys.modules.update(dict.fromkeys(['numpy', 'numba', 'polars', 'pyarrow', 'aiohttp']));"
        "[importlib.import_module(f'tickbus.cli.{name}')"
        " for name in ('tail', 'top', 'replay', 'streams')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
