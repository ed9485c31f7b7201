"""`fibcore.new_op`: what it writes works at once, and nothing is overwritten."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.specifiers import SpecifierSet
from plugin_toy import plugin

import fibcore
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry, load_plugins
from fibcore.scaffolding import NewOpReport

ROOT = Path(__file__).parents[2]
NONE = load_plugins(discover=False)


def make(directory: Path, name: str = "paged_copy", registry: Registry = NONE) -> NewOpReport:
    return fibcore.new_op(name, directory=directory, registry=registry)


def test_the_report_says_what_was_made(tmp_path: Path) -> None:
    report = make(tmp_path / "not" / "there")
    assert report.folder == tmp_path / "not/there/op_paged_copy"
    assert report.distribution == "fibcore-op-paged-copy"
    assert report.package == "fibcore_op_paged_copy"
    found = [p.relative_to(report.folder).as_posix() for p in report.folder.rglob("*")]
    assert sorted(report.files) == sorted(p for p in found if (report.folder / p).is_file())
    assert "fibcore_op_paged_copy/references/paged_copy.py" in report.files
    assert report.to_dict()["files"] == list(report.files)


def test_it_needs_this_fibcore_or_one_that_promises_the_same(tmp_path: Path) -> None:
    text = (make(tmp_path).folder / "pyproject.toml").read_text("utf-8")
    (needed,) = re.findall(r'"fibcore(>=[^"]*)"', text)
    specifier = SpecifierSet(needed)
    assert specifier.contains(fibcore.__version__)
    major, minor = fibcore.__version__.split(".")[:2]
    assert not specifier.contains(f"{major}.{int(minor) + 1}.0")


def test_every_place_to_change_is_marked(tmp_path: Path) -> None:
    report = make(tmp_path)
    marked = {f for f in report.files if "# Yours:" in (report.folder / f).read_text("utf-8")}
    package = report.package
    assert {f"{package}/{name}.py" for name in ("names", "matcher", "definitions")} <= marked
    assert {f"{package}/{name}.py" for name in ("workloads", "cost", "test_template")} <= marked
    assert {f"{package}/references/paged_copy.py", "tests/conftest.py"} <= marked


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    report = make(tmp_path)
    for file in report.files:
        assert "$" not in (report.folder / file).read_text("utf-8").replace(r"(\S+)$", ""), file
        assert "NAME" not in file


@pytest.mark.parametrize(
    "name", ["x", "paged_copy", "as_many_letters_as_a_name_may_have_at_all"[:40]]
)
def test_what_is_written_has_the_style_of_the_project(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ruff")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"))
    (tmp_path / "fibcore").symlink_to(ROOT / "fibcore")  # imports of it stand with the plugin's
    folder = make(tmp_path / "plugins", name).folder
    for command in (("check", "--no-cache"), ("format", "--no-cache", "--check")):
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", "ruff", *command, str(folder)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_tests_pass_at_once(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = make(tmp_path).folder
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), *sys.path))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package of a new plugin."""
    report = make(tmp_path, "imported_op")
    monkeypatch.syspath_prepend(str(report.folder))
    yield importlib.import_module(report.package)
    for name in [n for n in sys.modules if n.partition(".")[0] == report.package]:
        del sys.modules[name]


def test_it_is_a_plugin_of_its_op_type(imported: ModuleType) -> None:
    registry = load_plugins(extra={"imported_op": imported}, discover=False)
    (info,) = fibcore.plugins(registry=registry).plugins
    assert info.status == "active"
    assert info.op_types == ("imported_op",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Paged-Copy", "fibcore new-op paged_copy"),
        ("paged copy", "fibcore new-op paged_copy"),
        ("op_paged_copy", "fibcore new-op paged_copy"),
        ("a" * 41, "fibcore new-op " + "a" * 40),
        ("paged__copy", None),
        ("3d_copy", None),
        ("../copy", "fibcore new-op copy"),
        ("copy\n", "fibcore new-op copy"),
        ("", None),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        make(tmp_path, name)
    assert caught.value.where == "NAME"
    assert caught.value.expected
    assert caught.value.found == repr(name)
    assert caught.value.hint == hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "holder"),
    [
        ("held", "the plugin held"),
        ("toy", "an op type of the plugin held"),
    ],
)
def test_a_name_that_a_plugin_has_is_refused(tmp_path: Path, name: str, holder: str) -> None:
    registry = load_plugins(extra={"held": plugin("toy")}, discover=False)
    with pytest.raises(UsageError, match="taken") as caught:
        make(tmp_path, name, registry)
    assert caught.value.found == f"{name!r}, of {holder}"
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_a_disabled_plugin_has_is_refused(tmp_path: Path) -> None:
    registry = load_plugins(extra={"held": plugin("toy")}, disable=["held"], discover=False)
    with pytest.raises(UsageError, match="taken"):
        make(tmp_path, "held", registry)


def test_a_name_that_a_package_has_is_refused(tmp_path: Path, imported: ModuleType) -> None:
    with pytest.raises(UsageError, match="taken") as caught:
        make(tmp_path / "elsewhere", "imported_op")
    assert str(imported.__file__) in str(caught.value.found)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "op_paged_copy"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="nothing is overwritten") as caught:
        make(tmp_path)
    assert caught.value.where == str(place)
    assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["op_paged_copy"]
    assert not place.is_dir() or list(place.iterdir()) == []
    assert kind != "file" or place.read_text() == "mine"


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_file_in_the_way_is_an_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError) as caught:
        make(tmp_path / "file" / below)
    assert "file" in str(caught.value.where)
    assert (tmp_path / "file").read_text() == "mine"


def test_where_the_disk_refuses_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_text

    def full(self: Path, *args: object, **kwargs: object) -> int:
        if self.name == "matcher.py":
            raise OSError(28, "No space left on device", str(self))
        return written(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_keyword_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="takes no such keyword") as caught:
        fibcore.new_op("paged_copy", directry=".")  # type: ignore[call-arg]
    assert "directory" in str(caught.value.expected)
