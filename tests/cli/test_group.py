"""The commands together: help, unknown names, and what errors and interrupts become."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

import fibcore.cli
from fibcore.cli import cli
from fibcore.cli.group import COMMANDS
from fibcore.errors import FibcoreError
from fibcore.ops.checks import RESERVED

Invoke = Callable[..., Result]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_help_lists_every_command(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert set(COMMANDS) == {
        *("run", "clone-repos", "extract-kernel-definitions", "add-reference-tests", "verify"),
        *("report", "survey", "add-workloads", "add-solutions", "certify", "publish"),
        *("plugins", "models", "validate", "explain", "diff", "import-trace", "add-new-model"),
        *("cost", "coverage", "new-op", "export", "check", "step", "sizes", "list"),
        *("import-workloads", "onboard", "track"),
    }
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize("name", sorted([*COMMANDS, "extract", "add-tests"]))
def test_every_command_has_help_and_the_common_options(invoke: Invoke, name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    for option in ("--target-dir", "--dataset", "--json", "-q", "-v", "--disable-plugin"):
        assert option in result.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_option_of_an_op_type_can_clash_with_one_of_a_command(name: str) -> None:
    flags = {flag.lstrip("-") for p in command(name).params for flag in p.opts}
    own = {flag.replace("-", "_") for flag in flags if len(flag) > 1}
    placed = {flag for flag in own if flag.startswith("options_of_")}
    if placed:
        assert own - placed <= RESERVED


def test_an_unknown_command_names_the_nearest(invoke: Invoke) -> None:
    result = invoke("extrac")
    assert result.exit_code == 2
    assert "Did you mean extract" in result.stderr
    assert "Did you mean list, plugins or publish?" in invoke("lis").stderr
    assert invoke("zzz").stderr.count(",") <= 2


def test_no_command_is_a_request_for_help(invoke: Invoke) -> None:
    alone = invoke()
    assert alone.exit_code == 0
    assert alone.stdout == invoke("--help").stdout
    assert alone.stderr == ""


def test_what_a_command_does_is_not_cut(invoke: Invoke) -> None:
    listing = invoke("--help").stdout.partition("Commands:")[2]
    assert "..." not in listing
    words = "".join(listing.split())
    for name in COMMANDS:
        first = (command(name).help or "").partition("\n\n")[0]
        sentence = " ".join(first.split()).partition(". ")[0].rstrip(".")
        assert sentence.replace(" ", "") in words


def failing(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_error_is_shown_in_its_parts_and_as_a_traceback_only_on_request(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = FibcoreError("it broke", where="here", expected="x", found="y", hint="do z")
    monkeypatch.setattr("fibcore.workspace.plugins", failing(error))
    result = invoke("plugins")
    assert result.exit_code == 1
    assert result.stderr == "here: it broke\n  expected: x\n  found: y\n  to do: do z\n"
    assert "Traceback" in invoke("plugins", "-vv").stderr
    assert "Traceback" in invoke("plugins", "-v", "-v").stderr
    assert "Traceback" not in invoke("plugins", "-v").stderr
    data = json.loads(invoke("plugins", "--json").stdout)
    assert data["error"]["hint"] == "do z"
    assert data["exit_code"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_one_line_and_130(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(error))
    result = invoke("plugins")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted."


def test_the_disk_refusing_is_an_error_without_a_traceback(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(PermissionError(13, "No", "/x/y")))
    result = invoke("plugins")
    assert result.exit_code == 1
    assert result.stderr == "/x/y: No\n"


def test_a_defect_is_said_to_be_one(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(ValueError("oh")))
    result = invoke("plugins", "--json")
    assert result.exit_code == 1
    assert "defect" in result.stderr
    assert json.loads(result.stdout)["error"]["message"] == "ValueError: oh"


def test_commands_find_nothing_themselves() -> None:
    # The API finds sources, datasets and plugins, so that both find the same.
    for path in Path(fibcore.cli.__file__).parent.glob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not names & {"find_source", "load_plugins", "dataset_folder", "repository_path"}
