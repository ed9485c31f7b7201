"""Where a package lies, and what its files say about version and commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fibcore.errors import SourceError
from fibcore.sources.git_files import head_commit
from fibcore.sources.layout import (
    commit_of,
    package_root,
    require_package,
    version_of,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sglang package as it lies in its repository."""
    root = tmp_path / "repository" / "python" / "sglang"
    (root / "srt" / "models").mkdir(parents=True)
    return root


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_package_is_found_from_every_level(root: Path, up: int) -> None:
    folder = [root, root.parent, root.parent.parent][up]
    assert package_root(folder, "sglang") == root
    assert require_package(folder, "sglang", "--sglang") == root


def test_a_renamed_package_is_known_by_its_content(root: Path, tmp_path: Path) -> None:
    renamed = root.rename(tmp_path / "sgl-copy")
    assert package_root(renamed, "sglang") == renamed


def test_flashinfer(tmp_path: Path) -> None:
    inner = tmp_path / "flashinfer" / "flashinfer"
    inner.mkdir(parents=True)
    (inner / "__init__.py").touch()
    assert package_root(tmp_path / "flashinfer", "flashinfer") == inner
    assert package_root(inner, "flashinfer") == inner
    assert package_root(tmp_path, "flashinfer") is None


def test_a_folder_without_the_package(tmp_path: Path) -> None:
    (tmp_path / "readme").touch()
    with pytest.raises(SourceError, match="readme") as caught:
        require_package(tmp_path, "sglang", "--sglang")
    assert caught.value.where == "--sglang"
    with pytest.raises(SourceError, match="no such folder"):
        require_package(tmp_path / "none", "sglang", "--sglang")


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("_version.py", "__version__ = version = '0.5.9'\n", "0.5.9"),
        ("_version.py", "version: str\n__version__: str = '1'\n", "1"),
        ("version.py", '__version__ = "0.4.6.post5"\n', "0.4.6.post5"),
        ("_build_meta.py", '"""Meta."""\n__version__ = "0.6.13"\n', "0.6.13"),
        ("../sglang-0.5.23.dist-info/METADATA", "Name: sglang\nVersion: 0.5.23\n\nx", "0.5.23"),
        ("../../fibcore-source.json", '{"origin": "pypi:x==1", "version": "1"}', "1"),
        ("../PKG-INFO", "Metadata-Version: 2.1\nVersion: 2\n", "2"),
        ("../pyproject.toml", '[project]\nname = "sglang"\nversion = "0.4.0"\n[tool]\n', "0.4.0"),
        ("../version.txt", "0.6.13\n", "0.6.13"),
        # Nothing that is certain:
        ("version.py", "try:\n  from sglang._version import __version__\nexcept E:\n  pass", None),
        ("version.py", "try:\n  pass\nexcept E:\n  __version__ = '0.0.0.dev0'\n", None),
        ("version.py", "__version__ = open('x').read()\n", None),
        ("version.py", "not python", None),
        ("../pyproject.toml", '[tool.x]\nversion = "9"\n', None),
        ("../../fibcore-source.json", "[]", None),
        ("../../fibcore-source.json", "{", None),
        ("../METADATA", "Version: 3\n", None),
    ],
)
def test_version_is_read_as_text(root: Path, file: str, text: str, version: str | None) -> None:
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert version_of(root, "sglang") == version


def test_version_module_comes_before_metadata(root: Path) -> None:
    (root / "_version.py").write_text("__version__ = '2'\n")
    info = root.parent / "sglang-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Version: 1\n\n")
    assert version_of(root, "sglang") == "2"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_version_from_a_tag(root: Path) -> None:
    repository = root.parents[1]
    (root / "srt" / "models" / "llama.py").touch()

    def git(*command: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        command = (shutil.which("git") or "git", *identity, *command)
        subprocess.run(command, cwd=repository, check=True)  # noqa: S603 - our own command line

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "other-v9")
    assert version_of(root, "sglang") is None
    git("tag", "v0.5.9")
    assert version_of(root, "sglang") == "0.5.9"
    git("commit", "-qm", "two", "--allow-empty")
    version = version_of(root, "sglang")
    assert version is not None
    assert version.startswith("0.5.9+1.g")


@pytest.mark.parametrize("where", ["loose", "packed", "detached", "worktree"])
def test_commit_is_read_without_git(root: Path, where: str) -> None:
    repository = root.parents[1]
    git = repository / ".git"
    if where == "worktree":
        git = repository.parent / "main" / ".git" / "worktrees" / "w"
        git.mkdir(parents=True)
        (repository / ".git").write_text(f"gitdir: {git}\n")
        (git / "commondir").write_text("../..\n")
        (git.parents[1] / "packed-refs").write_text(f"# pack\n{COMMIT} refs/heads/main\n")
    else:
        git.mkdir()
    (git / "HEAD").write_text(COMMIT if where == "detached" else "ref: refs/heads/main\n")
    if where == "loose":
        (git / "refs" / "heads").mkdir(parents=True)
        (git / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    if where == "packed":
        other = "f" * 40
        (git / "packed-refs").write_text(f"{other} refs/heads/x/main\n{COMMIT} refs/heads/main\n")
    assert head_commit(repository) == COMMIT
    assert commit_of(root) == COMMIT


def test_no_commit_outside_the_packages_own_repository(root: Path, tmp_path: Path) -> None:
    # A user's repository that happens to hold the folder says nothing about the package.
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(COMMIT)
    assert commit_of(root) is None


def test_no_commit_before_the_first_one(root: Path) -> None:
    git = root.parents[1] / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(root) is None
