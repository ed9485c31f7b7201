"""A repository that comes with a source or a dataset: git runs nothing that stands in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fibcore.errors import SourceError
from fibcore.publishing import base
from fibcore.sources import foreign_git, git, layout
from fibcore.sources.spec import GitSource

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],  # noqa: S607
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once a command has run."""
    return tmp_path / "RAN"


@pytest.fixture
def repository(tmp_path: Path, marker: Path) -> Path:
    """A repository with a tag, whose config and hooks run commands wherever git has a place."""
    folder = tmp_path / "repository"
    (folder / "sub" / "inner").mkdir(parents=True)
    (folder / "sub" / "inner" / "f").write_text("x")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
    _git(folder, "init", "-q", "-b", "main", ".")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "1")
    _git(folder, "tag", "v0.5.23")
    touch = f"touch {marker}"
    for key, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::sh -c touch% {marker}",
        "remote.origin.uploadpack": touch,
        "protocol.ext.allow": "always",
        "core.fsmonitor": touch,
        "core.sshCommand": touch,
        "core.pager": touch,
        "core.askPass": touch,
        "core.alternateRefsCommand": touch,
        "filter.evil.clean": touch,
        "filter.evil.smudge": touch,
        "diff.evil.command": touch,
        "diff.external": touch,
        "core.hooksPath": str(folder / "hooks"),
    }.items():
        _git(folder, "config", key, value)
    return folder


def _lose(repository: Path, thing: str) -> None:
    """Remove an object, so that git would fetch it from the promisor."""
    name = _git(repository, "-c", "core.fsmonitor=false", "rev-parse", thing)
    (repository / ".git" / "objects" / name[:2] / name[2:]).unlink()


def test_questions_are_answered_and_nothing_runs(
    repository: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker.unlink(missing_ok=True)
    assert foreign_git.answer(repository, "describe", "--tags") == "v0.5.23\n"
    assert base.ignored(repository, ["a.log", "b.txt"]) == {"a.log"}
    assert foreign_git.remote_url(repository) == f"ext::sh -c touch% {marker}"
    monkeypatch.chdir(repository.parent)
    assert foreign_git.remote_url(Path(repository.name)) == foreign_git.remote_url(repository)
    assert foreign_git.answer(repository, "status", "--porcelain") is not None
    assert foreign_git.answer(repository, "diff", "HEAD") is not None
    assert not marker.exists()


@pytest.mark.parametrize("lost", ["HEAD", "HEAD:sub", "HEAD^{tree}"])
def test_missing_objects_are_not_fetched(repository: Path, marker: Path, lost: str) -> None:
    _lose(repository, lost)
    marker.unlink(missing_ok=True)
    foreign_git.answer(repository, "describe", "--tags", "--match", "v[0-9]*")
    foreign_git.answer(repository, "ls-tree", "-r", "-z", "HEAD")
    base.ignored(repository, ["a.log"])
    base.find_base(repository, None)
    base.dataset_of_clone(repository)
    layout.version_of(repository, "sglang")
    assert not marker.exists()


def test_a_clone_with_commands_in_its_config_is_not_updated(repository: Path, marker: Path) -> None:
    marker.unlink(missing_ok=True)
    with pytest.raises(SourceError, match="names commands") as caught:
        git._open(repository)
    assert "core.sshcommand" in str(caught.value)
    assert not marker.exists()


def test_configs_of_plain_clones_hold_no_commands(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    _git(folder, "init", "-q", "-b", "main", ".")
    _git(folder, "config", "remote.origin.url", "https://example.org/a.git")
    _git(folder, "config", "filter.lfs.smudge", "git-lfs smudge -- %f")
    _git(folder, "config", "credential.helper", "store")
    assert foreign_git.commands_in_config(folder) == []
    _git(folder, "config", "credential.helper", "!touch x")
    _git(folder, "config", "filter.lfs.smudge", "git-lfs smudge; touch x")
    assert foreign_git.commands_in_config(folder) == ["filter.lfs.smudge", "credential.helper"]


def test_the_config_around_the_current_folder_says_nothing_about_a_remote(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    _git(upstream, "init", "-q", "-b", "main", ".")
    _git(upstream, "commit", "-q", "--allow-empty", "-m", "1")
    url = upstream.as_uri()
    _git(repository, "config", "url.file:///nowhere/.insteadOf", "file:///")
    monkeypatch.chdir(repository)
    assert git.look_up(GitSource(url)).name == "main"
