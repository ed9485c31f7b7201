"""Packages whose source is read beside SGLang's: which are found, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.errors import SourceError, UsageError
from fibcore.sources import packages
from fibcore.sources.packages import find_packages
from fibcore.sources.requirements import pinned
from fibcore.sources.tree import SourceTree
from fibcore.workspace import Workspace


def package(folder: Path, name: str, version: str = "1.0") -> Path:
    """A package in a folder."""
    root = folder / name
    root.mkdir(parents=True, exist_ok=True)
    (root / "__init__.py").write_text("raise RuntimeError('nobody imports it')\n")
    (root / "version.py").write_text(f"__version__ = {version!r}\n")
    return root


@pytest.fixture
def source(tmp_path: Path) -> SourceTree:
    """A SGLang that requires a release of timm, and none of extra."""
    root = tmp_path / "site" / "sglang"
    (root / "srt" / "models").mkdir(parents=True)
    info = root.parent / "sglang-0.5.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Name: sglang\nVersion: 0.5.9\nRequires-Dist: timm==1.0.16\n"
        "Requires-Dist: ktransformers==7.7\nRequires-Dist: my-package==3\n"
    )
    return SourceTree(root, "0.5.9", None, "made up")


def test_none_is_read_where_none_is_there(source: SourceTree, tmp_path: Path) -> None:
    assert find_packages((), source, tmp_path / "repos") == ()


def test_a_folder_is_read_as_it_is_named(source: SourceTree, tmp_path: Path) -> None:
    timm = package(tmp_path / "a", "timm", "1.0.31")
    extra = package(tmp_path / "b", "extra")
    found = find_packages((f"timm={timm.parent}", f"extra={extra}"), source, tmp_path)
    assert [(p.name, p.tree.root, p.tree.version) for p in found] == [
        ("timm", timm, "1.0.31"),
        ("extra", extra, "1.0"),
    ]


def test_those_at_hand_are_read_without_being_named(source: SourceTree, tmp_path: Path) -> None:
    repos = tmp_path / "repos"
    package(repos, "timm", "2")
    package(repos, "extra")  # nobody knows that models take parts of it
    beside = package(source.root.parent, "transformers", "3")
    found = {p.name: p.tree for p in find_packages((), source, repos)}
    assert {name: tree.version for name, tree in found.items()} == {
        "transformers": "3",
        "timm": "2",
    }
    assert found["transformers"].root == beside
    # What pip put beside SGLang is what that requires.
    package(source.root.parent, "timm", "4")
    found = {p.name: p.tree for p in find_packages((), source, repos)}
    assert found["timm"].version == "4"
    # One that is named counts.
    own = package(tmp_path / "own", "timm", "5")
    found = {p.name: p.tree for p in find_packages((f"timm={own}",), source, repos)}
    assert found["timm"].version == "5"
    # A name alone is the one at hand, too.
    assert [p.name for p in find_packages(("extra=" + str(repos),), source, tmp_path)] == [
        "extra",
        "transformers",
        "timm",
    ]


def test_a_name_alone_is_the_release_that_is_required(
    source: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    tree = SourceTree(tmp_path, "1.0.16", None, "pypi")

    def find(spec: str, *_: object, **__: object) -> SourceTree:
        asked.append(spec)
        if spec == "installed":
            raise SourceError("not installed")
        return tree

    monkeypatch.setattr(packages, "find_source", find)
    (found,) = find_packages(("timm",), source, tmp_path)
    assert found.tree is tree
    assert asked == ["installed", "pypi:timm==1.0.16"]


def test_a_release_that_nobody_requires_has_to_be_named(source: SourceTree, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no release of extra to take") as error:
        find_packages(("extra",), source, tmp_path)
    assert "extra=SRC" in str(error.value)


@pytest.mark.parametrize("spec", ["", "=x", "timm=", "a b=/x", "sglang=/x", "../timm", "tim.m=/x"])
def test_what_names_no_package_is_refused(source: SourceTree, tmp_path: Path, spec: str) -> None:
    with pytest.raises(UsageError, match="--package: no package and its source"):
        find_packages((spec,), source, tmp_path)


def test_errors_name_the_option(source: SourceTree, tmp_path: Path) -> None:
    package(tmp_path, "timm")
    with pytest.raises(UsageError, match="--package: a package is named twice"):
        find_packages((f"timm={tmp_path}", f"timm={tmp_path}"), source, tmp_path)
    with pytest.raises(SourceError, match="--package"):
        find_packages((f"transformers={tmp_path}",), source, tmp_path)
    with pytest.raises(UsageError, match="--package"):
        find_packages(("timm=ext::sh -c true",), source, tmp_path)


def test_what_is_required(source: SourceTree) -> None:
    assert pinned(source.root, "timm") == "1.0.16"
    assert pinned(source.root, "transformers") is None  # which ktransformers is not
    assert pinned(source.root, "my_package") == "3"


def test_the_workspace_has_them_beside_the_source(source: SourceTree, tmp_path: Path) -> None:
    timm = package(tmp_path, "timm")
    workspace = Workspace.of(sglang=str(source.root), package=f"timm={timm}")
    assert [p.name for p in workspace.source().packages] == ["timm"]
    assert Workspace.of(sglang=str(source.root)).source().packages == ()
