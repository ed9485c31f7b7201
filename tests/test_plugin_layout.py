"""Plugins have one layout, new ones too; their packages hold hooks and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fibcore
from fibcore.ops import hookspecs
from fibcore.ops.registry import load_plugins

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
PROJECT = ("LICENSE", "README.md", "conftest.py", "pyproject.toml")
PACKAGE = (
    "__init__.py",
    "cost.py",
    "definitions.py",
    "ground_truths/__init__.py",
    "matcher.py",
    "names.py",
    "py.typed",
    "test_template.py",
    "workloads.py",
)
FOLDERS = ("ground_truths", "references")
TESTS = (
    "conftest.py",
    "test_contract.py",
    "test_cost.py",
    "test_definitions.py",
    "test_ground_truths.py",
    "test_matcher.py",
    "test_references.py",
    "test_workloads.py",
    "test_wrong_references.py",
)
HOOKS = {name for name in vars(hookspecs) if name.startswith("fibcore_")}

NEW = "op_paged_copy"
"""A plugin that `fibcore new-op` writes; it is held to the layout as the others are."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of every plugin, by its name."""
    directory, registry = tmp_path_factory.mktemp("plugins"), load_plugins(discover=False)
    new = fibcore.new_op(NEW.removeprefix("op_"), directory=directory, registry=registry)
    return {**{path.name: path for path in PLUGINS}, NEW: new.folder}


@pytest.fixture(params=[*(path.name for path in PLUGINS), NEW])
def plugin(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """The folder of one plugin after the other."""
    return folders[request.param]


def package_of(plugin: Path) -> Path:
    return plugin / f"fibcore_{plugin.name}"


def test_there_are_plugins() -> None:
    assert len(PLUGINS) >= 5
    assert NEW not in {path.name for path in PLUGINS}


def test_required_files_are_there(plugin: Path) -> None:
    required = [
        *(plugin / name for name in PROJECT),
        *(package_of(plugin) / name for name in PACKAGE),
        *(plugin / "tests" / name for name in TESTS),
    ]
    assert [str(path) for path in required if not path.is_file()] == []


def test_references_and_ground_truths_have_folders_and_nothing_else_has(plugin: Path) -> None:
    # A folder that a checkout left behind holds compiled files alone.
    folders = {p.name for p in package_of(plugin).iterdir() if any(p.glob("*.py"))}
    assert folders == set(FOLDERS)
    for folder in FOLDERS:
        files = {p.name for p in (package_of(plugin) / folder).glob("*.py")} - {"__init__.py"}
        assert files, folder


def test_the_package_holds_hooks_that_hand_over(plugin: Path) -> None:
    body = ast.parse((package_of(plugin) / "__init__.py").read_text("utf-8")).body
    hooks = [node for node in body if isinstance(node, ast.FunctionDef)]
    # Formats of other tools are there for few op types, sizes that names do not tell for fewer.
    rare = {"fibcore_exports", "fibcore_step_sizes"}
    assert {node.name for node in hooks} | rare == HOOKS
    for hook in hooks:
        assert [ast.unparse(mark) for mark in hook.decorator_list] == ["hookimpl"]
        docstring, *imports, statement = hook.body
        assert isinstance(docstring, ast.Expr), hook.name
        assert all(isinstance(node, ast.ImportFrom) for node in imports[:1]), hook.name
        assert not imports[1:], hook.name
        assert isinstance(statement, ast.Return), hook.name
    others = [node for node in body[1:] if node not in hooks]
    assigned = [node for node in others if not isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in assigned] == ["fibcore_hook_api = 1"]


def test_an_extraction_imports_no_more_than_it_needs(plugin: Path) -> None:
    package = package_of(plugin)
    body = ast.parse((package / "__init__.py").read_text("utf-8")).body
    imported = [
        alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module == package.name
        for alias in node.names
    ]
    assert sorted(imported) == ["matcher", "names"]


def test_the_projects_differ_in_names_and_descriptions_alone(folders: dict[str, Path]) -> None:
    texts = set()
    for plugin in folders.values():
        name = plugin.name.removeprefix("op_").replace("_", "[-_]")
        text = (plugin / "pyproject.toml").read_text("utf-8")
        text = re.sub(r'^description = ".*"$', "", text, flags=re.MULTILINE)
        texts.add(re.sub(rf"\b(fibcore[-_]op[-_])?{name}\b", r"\g<1>OP", text))
    assert len(texts) == 1
    assert len({(plugin / "LICENSE").read_text("utf-8") for plugin in folders.values()}) == 1


@pytest.mark.parametrize("name", [path.name for path in PLUGINS])
def test_readme_and_the_extra_name_every_plugin(name: str) -> None:
    assert f"| [{name}](plugins/{name}) |" in (ROOT / "README.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert (
        f'"fibcore-{name.replace("_", "-")}",'
        in project.partition("\nops = [")[2].partition("]")[0]
    )
