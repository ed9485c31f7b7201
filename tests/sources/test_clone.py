"""`clone_repos` against local git repositories and an index of tiny wheels; no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from fibcore.errors import SourceError, UsageError
from fibcore.sources import clone as clone_module
from fibcore.sources import folders, git, git_files, git_process, pypi
from fibcore.sources.clone import clone_repos
from fibcore.sources.finding import find_source
from fibcore.sources.git_process import UnreachableError
from fibcore.sources.repos_config import ReposConfig
from fibcore.sources.spec import PypiSource

NOWHERE = "https://127.0.0.1:1/x.git"
FILES = {
    "sglang": "python/sglang/srt/models/llama.py",
    "flashinfer": "flashinfer/__init__.py",
    "flashinfer_trace": "definitions/gemm/a.json",
}

GIT = shutil.which("git") or ""

pytestmark = pytest.mark.skipif(not GIT, reason="git is not installed")


def run_git(folder: Path, *command: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command line
        [GIT, *command], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Upstream:
    """A repository with a working tree and two commits, which plays the remote."""

    def __init__(self, folder: Path, file: str) -> None:
        self.folder = folder
        self.file = folder / file
        self.url = folder.as_uri()
        if not folder.exists():
            self.file.parent.mkdir(parents=True)
            self.git("init", "-q", "-b", "main")
            # As the public hosts do: any commit that can be reached may be asked for.
            self.git("config", "uploadpack.allowReachableSHA1InWant", "true")
            self.commit("1")
            self.commit("2")
        self.commits = self.git("log", "--format=%H", "--reverse").split()

    def git(self, *command: str) -> str:
        return run_git(self.folder, *command)

    def commit(self, text: str) -> str:
        self.file.write_text(text)
        self.git("add", ".")
        self.git("commit", "-qm", text)
        return self.git("rev-parse", "HEAD")


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel as a platform-bound release has it, for a Python that may not be the running one."""
    folder.mkdir(exist_ok=True)
    project = name.replace("-", "_")
    wheel = folder / f"{project}-{version}-cp311-cp311-manylinux_2_34_x86_64.whl"
    info = f"{project}-{version}.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\ntext\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_34_x86_64\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in everything.items():
            archive.writestr(path, text)
    return wheel


def isolate_git(patch: pytest.MonkeyPatch) -> None:
    """Keep the user's settings out, and give commits an author."""
    for who in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{who}_NAME", "t")
        patch.setenv(f"GIT_{who}_EMAIL", "t@t")
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's git and pip settings nor the network take part."""
    monkeypatch.chdir(tmp_path)
    isolate_git(monkeypatch)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("FIBCORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The upstreams, made once; each test gets a copy."""
    folder = tmp_path_factory.mktemp("upstreams")
    with pytest.MonkeyPatch.context() as patch:
        isolate_git(patch)
        for key, file in FILES.items():
            Upstream(folder / key, file)
    return folder


@pytest.fixture
def upstreams(tmp_path: Path, _templates: Path) -> dict[str, Upstream]:
    shutil.copytree(_templates, tmp_path / "up")
    return {key: Upstream(tmp_path / "up" / key, file) for key, file in FILES.items()}


def point_to(monkeypatch: pytest.MonkeyPatch, urls: dict[str, str]) -> None:
    kinds = tuple(attrs.evolve(k, url=urls[k.key]) for k in clone_module._KINDS)
    monkeypatch.setattr(clone_module, "_KINDS", kinds)


@pytest.fixture
def online(upstreams: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch) -> dict[str, Upstream]:
    """`auto` clones from the local upstreams."""
    point_to(monkeypatch, {key: up.url for key, up in upstreams.items()})
    return upstreams


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`auto` reaches no git host; the index has both releases. The index folder."""
    point_to(monkeypatch, dict.fromkeys(FILES, NOWHERE))
    index = tmp_path / "index"
    sglang, flashinfer = (clone_module.UPSTREAM[n].pypi for n in ("sglang", "flashinfer"))
    make_wheel(
        index,
        sglang.name,
        sglang.version,
        {
            "sglang/__init__.py": "raise SystemExit('never run')",
            "sglang/srt/models/llama.py": "1",
            "sglang/srt/c.json": "{}",
            "sglang/srt/kernel.so": "binary",
            "other/x.py": "1",
        },
    )
    make_wheel(index, flashinfer.name, flashinfer.version, {"flashinfer/__init__.py": "1"})
    return index


@pytest.fixture
def without_pip(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `offline`, with a download that is quick; the index folder."""

    def copied(source: PypiSource, folder: Path, *_: object) -> Path:
        name = f"{source.name.replace('-', '_')}-{source.version}-*.whl"
        return Path(shutil.copy(next(offline.glob(name)), folder))

    monkeypatch.setattr(pypi, "download_wheel", copied)
    return offline


@pytest.fixture
def _progress_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have git report the little that it receives here."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "fetch.unpackLimit")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "1")


def statuses(config: ReposConfig) -> dict[str, str]:
    return {key: entry.status for key, entry in config.repositories.items()}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def leftovers(target: Path) -> list[Path]:
    return list(target.glob(folders.PARTIAL + "*"))


# Git


@pytest.mark.usefixtures("_progress_of_git")
def test_three_shallow_clones_and_their_config(online: dict[str, Upstream]) -> None:
    steps: list[tuple[object, ...]] = []
    config = clone_repos("./repos", progress=lambda *step: steps.append(step))
    assert statuses(config) == dict.fromkeys(FILES, "cloned")
    written = json.loads(Path("repos/repos_config.json").read_text())
    assert written == config.to_dict()
    assert written["target_dir"] == "./repos"
    assert written["repositories"]["flashinfer_trace"] == {
        "path": "./repos/flashinfer-trace",
        "status": "cloned",
        "origin": online["flashinfer_trace"].url,
        "commit": online["flashinfer_trace"].commits[1],
    }
    for key, up in online.items():
        folder = Path("repos", key.replace("_", "-"))
        assert (folder / FILES[key]).read_text() == "2"
        assert run_git(folder, "log", "--format=%H") == up.commits[1]
    for name in ("sglang", "flashinfer", "flashinfer-trace"):
        ends = [(d, t) for step, d, t in steps if step == f"{name}: receiving" and d is not None]
        assert ends
        assert ends[-1][0] == ends[-1][1]
    tree = find_source(None, Path("repos"))
    assert tree.root == Path("repos/sglang/python/sglang").resolve()
    assert tree.commit == online["sglang"].commits[1]


def test_a_second_run_leaves_everything_and_asks_nobody(
    online: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone_repos("repos")
    online["sglang"].commit("3")
    monkeypatch.setattr(git, "look_up", lambda *_: pytest.fail("asked the remote"))
    config = clone_repos("repos")
    assert statuses(config) == dict.fromkeys(FILES, "present")
    assert Path("repos/sglang", FILES["sglang"]).read_text() == "2"
    first = Path("repos/repos_config.json").read_bytes()
    clone_repos("repos")
    assert Path("repos/repos_config.json").read_bytes() == first


@pytest.mark.parametrize("kind", ["branch", "tag", "annotated", "commit"])
def test_refs(online: dict[str, Upstream], kind: str) -> None:
    up = online["sglang"]
    if kind == "branch":
        up.git("branch", "dev/x", up.commits[0])
        ref = "dev/x"
    elif kind == "commit":
        ref = up.commits[0]
    else:
        ref = "v0.5.9"
        up.git("tag", *(["-am", "text"] if kind == "annotated" else []), ref, up.commits[0])
    assert git.look_up(git.GitSource(up.url, ref)).commit == up.commits[0]
    config = clone_repos("repos", sglang=f"{up.url}@{ref}")
    entry = config.repositories["sglang"]
    assert (entry.status, entry.commit) == ("cloned", up.commits[0])
    assert entry.origin == f"{up.url}@{ref}"
    assert entry.version == ("0.5.9" if ref == "v0.5.9" else None)
    assert Path("repos/sglang", FILES["sglang"]).read_text() == "1"
    # The same again is there; another ref is not what was asked for.
    again = clone_repos("repos", sglang=f"{up.url}@{ref}")
    assert again.repositories["sglang"].status == "present"
    with pytest.raises(SourceError, match="another ref") as caught:
        clone_repos("repos", sglang=f"{up.url}@main")
    assert caught.value.hint == "add --update to move to it"
    moved = clone_repos("repos", sglang=f"{up.url}@main", update=True)
    assert moved.repositories["sglang"].status == "updated"
    assert moved.repositories["sglang"].commit == up.commits[1]


@pytest.mark.parametrize("ref", ["no-such", "0123456", "f" * 40])
def test_a_ref_that_is_not_there(online: dict[str, Upstream], ref: str) -> None:
    with pytest.raises(SourceError) as caught:
        clone_repos("repos", sglang=f"{online['sglang'].url}@{ref}")
    assert ref in str(caught.value)
    # The others were set up, and nothing looks like a sglang.
    assert names(Path("repos")) == [
        "flashinfer",
        "flashinfer-trace",
        "repos_config.json",
    ]
    written = json.loads(Path("repos/repos_config.json").read_text())
    assert set(written["repositories"]) == {"flashinfer", "flashinfer_trace"}


def test_a_bare_repository_and_one_without_a_branch(
    online: dict[str, Upstream], tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "-q", "--bare", online["sglang"].url, str(bare))
    config = clone_repos("repos", sglang=str(bare))
    assert config.repositories["sglang"].status == "cloned"
    empty = tmp_path / "empty.git"
    run_git(tmp_path, "init", "-q", "--bare", str(empty))
    with pytest.raises(SourceError, match="no default branch"):
        clone_repos("other", sglang=str(empty))


def test_a_repository_without_the_package(online: dict[str, Upstream]) -> None:
    with pytest.raises(SourceError, match="the package sglang is not in this folder"):
        clone_repos("repos", sglang=online["flashinfer"].url)
    assert not Path("repos/sglang").exists()
    assert leftovers(Path("repos")) == []


def test_update(online: dict[str, Upstream]) -> None:
    clone_repos("repos")
    new = online["sglang"].commit("3")
    config = clone_repos("repos", update=True)
    assert statuses(config) == {
        "sglang": "updated",
        "flashinfer": "present",
        "flashinfer_trace": "present",
    }
    assert config.repositories["sglang"].commit == new
    assert Path("repos/sglang", FILES["sglang"]).read_text() == "3"


def test_update_keeps_what_git_does_not_track(online: dict[str, Upstream]) -> None:
    clone_repos("repos")
    mine = Path("repos/flashinfer-trace/definitions/gemm/mine.json")
    mine.write_text("mine")
    online["flashinfer_trace"].commit("3")
    assert statuses(clone_repos("repos", update=True))["flashinfer_trace"] == "updated"
    assert mine.read_text() == "mine"
    # A file of the same name upstream must not replace it.
    (online["flashinfer_trace"].file.parent / "mine.json").write_text("theirs")
    online["flashinfer_trace"].commit("4")
    with pytest.raises(SourceError, match="git failed"):
        clone_repos("repos", update=True)
    assert mine.read_text() == "mine"
    assert not git_files.being_updated(Path("repos/flashinfer-trace"))


def test_update_refuses_changed_files(online: dict[str, Upstream]) -> None:
    clone_repos("repos")
    online["flashinfer_trace"].commit("3")
    changed = Path("repos/flashinfer-trace", FILES["flashinfer_trace"])
    changed.write_text("mine")
    with pytest.raises(SourceError, match="was changed"):
        clone_repos("repos", update=True)
    assert changed.read_text() == "mine"
    # What is known of it is not forgotten.
    written = json.loads(Path("repos/repos_config.json").read_text())
    origin = written["repositories"]["flashinfer_trace"]["origin"]
    assert origin == online["flashinfer_trace"].url


def test_update_refuses_own_commits(online: dict[str, Upstream]) -> None:
    clone_repos("repos")
    online["flashinfer_trace"].commit("3")
    folder = Path("repos/flashinfer-trace")
    (folder / "mine").write_text("mine")
    for command in (["add", "."], ["commit", "-qm", "mine"]):
        run_git(folder, *command)
    head = git_files.head_commit(folder)
    with pytest.raises(SourceError, match="commits that its remote may not have"):
        clone_repos("repos", update=True)
    assert git_files.head_commit(folder) == head


def test_update_leaves_a_full_history_full(online: dict[str, Upstream]) -> None:
    up = online["sglang"]
    Path("repos").mkdir()
    run_git(Path("repos"), "clone", "-q", up.url, "sglang")
    new = up.commit("3")
    config = clone_repos("repos", update=True)
    assert config.repositories["sglang"].commit == new
    assert run_git(Path("repos/sglang"), "rev-list", "--count", "HEAD") == "3"


@pytest.mark.usefixtures("online")
def test_update_of_an_unreachable_remote_is_an_error(tmp_path: Path) -> None:
    clone_repos("repos")
    (tmp_path / "up" / "flashinfer").rename(tmp_path / "gone")
    with pytest.raises(UnreachableError):
        clone_repos("repos", update=True)
    assert Path("repos/flashinfer", FILES["flashinfer"]).read_text() == "2"


# Interruptions


@pytest.mark.usefixtures("online")
def test_an_interrupted_clone_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = git._fetch

    def interrupted(*arguments: object, **options: object) -> None:
        fetch(*arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(git, "_fetch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clone_repos("repos")
    assert names(Path("repos")) == []
    assert statuses(clone_repos("repos")) == dict.fromkeys(FILES, "cloned")


@pytest.mark.usefixtures("_progress_of_git", "online")
def test_ctrl_c_from_progress_stops_the_clone() -> None:
    def progress(step: str, done: float | None, total: float | None) -> None:
        # The reports with a number come from a thread of GitPython's.
        if "receiving" in step and done is not None and total is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone_repos("repos", progress=progress)
    assert names(Path("repos")) == []


@pytest.mark.usefixtures("online")
def test_what_a_killed_run_left_is_cleaned_up() -> None:
    half = Path("repos", folders.PARTIAL + "abc", "python", "sglang")
    half.mkdir(parents=True)
    assert statuses(clone_repos("repos"))["sglang"] == "cloned"
    assert leftovers(Path("repos")) == []


@pytest.mark.parametrize("at", ["before", "after"])
def test_an_interrupted_update_is_finished(
    online: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    clone_repos("repos")
    new = online["sglang"].commit("3")
    folder = Path("repos/sglang")
    run = git._run

    def interrupted(source: object, command: Callable[..., object], *arguments: str) -> None:
        if at == "after":
            run(source, command, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(git, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clone_repos("repos", update=True)
    # As a killed git leaves it: some files new, and its lock.
    (folder / FILES["sglang"]).write_text("half")
    (folder / ".git" / "index.lock").touch()
    with pytest.raises(SourceError, match="interrupted"):
        find_source(None, Path("repos"))
    config = clone_repos("repos")
    assert statuses(config)["sglang"] == "present"
    assert (folder / FILES["sglang"]).read_text() == "3"
    assert find_source(None, Path("repos")).commit == new
    assert git_files.current_branch(folder) == "main"


def test_an_update_interrupted_before_its_marker_was_written(online: dict[str, Upstream]) -> None:
    clone_repos("repos")
    marker = Path("repos/sglang/.git", git_files.UPDATING)
    marker.write_text(online["sglang"].commits[1][:7])
    assert statuses(clone_repos("repos"))["sglang"] == "present"
    assert not marker.exists()


# What is there already


@pytest.mark.usefixtures("online")
def test_content_of_another_kind_is_never_touched() -> None:
    for name, file in (("sglang", "notes.txt"), ("flashinfer", ".hidden")):
        Path("repos", name).mkdir(parents=True)
        Path("repos", name, file).write_text("mine")
    Path("repos/flashinfer-trace").write_text("a file")
    with pytest.raises(SourceError) as caught:
        clone_repos("repos", update=True)
    assert "3 of 3 repositories" in str(caught.value)
    assert "notes.txt" in str(caught.value)
    assert Path("repos/sglang/notes.txt").read_text() == "mine"
    assert Path("repos/flashinfer/.hidden").read_text() == "mine"
    assert Path("repos/flashinfer-trace").read_text() == "a file"


@pytest.mark.usefixtures("online")
def test_an_empty_folder_is_used() -> None:
    Path("repos/sglang").mkdir(parents=True)
    assert statuses(clone_repos("repos"))["sglang"] == "cloned"
    assert leftovers(Path("repos")) == []


def test_a_folder_that_is_no_dataset(online: dict[str, Upstream]) -> None:
    Path("repos/flashinfer-trace/photos").mkdir(parents=True)
    Path("repos/sglang/sglang/srt/models").mkdir(parents=True)
    with pytest.raises(SourceError, match="stays as it is") as caught:
        clone_repos("repos")
    assert "photos" in str(caught.value.found)
    # A source of unknown origin is not the one that was asked for.
    Path("repos/flashinfer-trace/definitions").mkdir()
    with pytest.raises(SourceError, match="stays as it is") as caught:
        clone_repos("repos", sglang=online["sglang"].url)
    assert caught.value.where == "repos/sglang"


@pytest.mark.usefixtures("online")
def test_an_unpacked_source_and_a_dataset_of_others_are_used() -> None:
    Path("repos/sglang/sglang/srt/models").mkdir(parents=True)
    Path("repos/flashinfer-trace/definitions").mkdir(parents=True)
    config = clone_repos("repos", update=True)
    assert statuses(config) == {
        "sglang": "present",
        "flashinfer": "cloned",
        "flashinfer_trace": "present",
    }
    assert config.repositories["sglang"].message == "not updated: it is no clone"


def test_a_clone_of_something_else_stays(online: dict[str, Upstream], tmp_path: Path) -> None:
    clone_repos("repos")
    other = Upstream(tmp_path / "other", FILES["sglang"])
    for update in (False, True):
        with pytest.raises(SourceError, match="stays as it is") as caught:
            clone_repos("repos", sglang=other.url, update=update)
        assert caught.value.found == online["sglang"].url
    with pytest.raises(SourceError, match="stays as it is"):
        clone_repos("repos", sglang="pypi:sglang==0.5.23")
    with pytest.raises(SourceError, match="stays as it is"):
        clone_repos("repos", sglang=str(other.folder))
    assert Path("repos/sglang", FILES["sglang"]).read_text() == "2"


@pytest.mark.usefixtures("online")
def test_a_broken_config_is_named() -> None:
    Path("repos").mkdir()
    Path("repos/repos_config.json").write_text('{"repositories": [}')
    with pytest.raises(SourceError, match=r"repos_config\.json"):
        clone_repos("repos")


# Links


def test_local_paths_are_linked(online: dict[str, Upstream], tmp_path: Path) -> None:
    package = tmp_path / "mine" / "sglang"
    (package / "srt" / "models").mkdir(parents=True)
    (package / "version.py").write_text("__version__ = '0.5.9'\n")
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    config = clone_repos("repos", sglang="mine/sglang", flashinfer_trace=str(dataset))
    entry = config.repositories["sglang"]
    assert (entry.status, entry.version, entry.path) == ("linked", "0.5.9", "repos/sglang")
    assert entry.origin == str(package)
    assert find_source(None, Path("repos")).root == package
    assert Path("repos/flashinfer-trace").resolve() == dataset
    # auto keeps links; another path replaces the link and nothing behind it.
    assert statuses(clone_repos("repos", update=True))["sglang"] == "linked"
    other = online["sglang"].folder
    assert clone_repos("repos", sglang=str(other)).repositories["sglang"].status == "linked"
    assert Path("repos/sglang").resolve() == other
    assert package.is_dir()
    with pytest.raises(SourceError, match="stays as it is"):
        clone_repos("repos", sglang=online["sglang"].url)
    shutil.rmtree(other)
    with pytest.raises(SourceError, match="leads nowhere"):
        clone_repos("repos")


@pytest.mark.usefixtures("online")
def test_a_path_that_is_already_in_place() -> None:
    clone_repos("repos")
    config = clone_repos("repos", sglang="repos/sglang")
    assert config.repositories["sglang"].status == "present"
    assert not Path("repos/sglang").is_symlink()
    assert online


def test_paths_that_do_not_fit_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for options in ({"sglang": "empty"}, {"sglang": "none"}, {"flashinfer_trace": "none"}):
        with pytest.raises(SourceError):
            clone_repos("repos", **options)
    for spec in ("pypi:x==1", "installed", "ext::sh -c true"):
        with pytest.raises(UsageError):
            clone_repos("repos", flashinfer_trace=spec)
    assert not Path("repos").exists()


@pytest.mark.usefixtures("online")
def test_installed_package_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "sglang" / "srt" / "models").mkdir(parents=True)
    (site / "sglang" / "__init__.py").write_text("raise SystemExit('imported')")
    (site / "sglang-0.5.9.dist-info").mkdir()
    (site / "sglang-0.5.9.dist-info" / "METADATA").write_text("Name: sglang\nVersion: 0.5.9\n\n")
    monkeypatch.syspath_prepend(str(site))
    entry = clone_repos("repos", sglang="installed").repositories["sglang"]
    assert (entry.status, entry.version, entry.origin) == ("linked", "0.5.9", "installed")
    assert Path("repos/sglang").resolve() == site / "sglang"


# PyPI


@pytest.mark.usefixtures("offline")
def test_auto_without_a_git_host() -> None:
    start = time.monotonic()
    config = clone_repos("./repos")
    assert time.monotonic() - start < 15
    assert statuses(config) == {
        "sglang": "downloaded",
        "flashinfer": "downloaded",
        "flashinfer_trace": "initialized",
    }
    sglang = config.repositories["sglang"]
    assert sglang.version == clone_module.UPSTREAM["sglang"].pypi.version
    assert NOWHERE in sglang.message
    assert "pypi:sglang==" in sglang.message
    assert "an empty dataset" in config.repositories["flashinfer_trace"].message
    # The layout is the repository's, and only text was unpacked.
    found = {
        str(p.relative_to("repos/sglang")) for p in Path("repos/sglang").rglob("*") if p.is_file()
    }
    info = f"python/sglang-{sglang.version}.dist-info/METADATA"
    assert found == {
        "fibcore-source.json",
        "python/sglang/__init__.py",
        "python/sglang/srt/models/llama.py",
        "python/sglang/srt/c.json",
        info,
    }
    assert Path("repos/flashinfer/flashinfer/__init__.py").is_file()
    assert list(Path("repos/flashinfer-trace").iterdir()) == [
        Path("repos/flashinfer-trace/definitions")
    ]
    assert find_source(None, Path("repos")).version == sglang.version
    assert set(statuses(clone_repos("./repos")).values()) == {"present"}


def test_a_download_gives_way_to_what_update_asks_for(
    without_pip: Path, upstreams: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone_repos("repos")
    config = clone_repos("repos", update=True)
    assert set(statuses(config).values()) == {"present"}
    assert NOWHERE in config.repositories["sglang"].message
    make_wheel(
        without_pip, "sglang", "0.5.9", {"sglang/__init__.py": "", "sglang/srt/models/a.py": ""}
    )
    with pytest.raises(SourceError, match="stays as it is") as caught:
        clone_repos("repos", sglang="pypi:sglang==0.5.9")
    assert caught.value.hint == "add --update to replace it"
    config = clone_repos("repos", sglang="pypi:sglang==0.5.9", update=True)
    assert config.repositories["sglang"].status == "updated"
    assert config.repositories["sglang"].version == "0.5.9"
    # A host that can be reached again.
    point_to(monkeypatch, {key: up.url for key, up in upstreams.items()})
    config = clone_repos("repos", update=True)
    assert statuses(config) == {
        "sglang": "updated",
        "flashinfer": "updated",
        "flashinfer_trace": "present",
    }
    assert config.repositories["sglang"].commit == upstreams["sglang"].commits[1]


def test_neither_git_nor_index(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi, "PYTHONS", ("3.11",))
    for wheel in offline.glob("sglang-*"):
        wheel.unlink()
    with pytest.raises(SourceError, match="no such package") as caught:
        clone_repos("repos")
    assert NOWHERE in str(caught.value)
    assert not Path("repos/sglang").exists()
    assert Path("repos/flashinfer").is_dir()


@pytest.mark.usefixtures("without_pip")
def test_an_interrupted_download_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path, package: str, folder: Path) -> None:
        (folder / package / "srt" / "models").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(pypi, "unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clone_repos("repos")
    assert names(Path("repos")) == []


@pytest.mark.usefixtures("without_pip")
def test_a_full_disk_is_an_error_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pypi, "unpack", full)
    with pytest.raises(SourceError, match="No space left on device"):
        clone_repos("repos")
    assert names(Path("repos")) == [
        "flashinfer-trace",
        "repos_config.json",
    ]


# Git's own environment


def test_a_silent_host_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    # As git does, it leaves the waiting to a child that holds the pipes.
    fake.write_text("#!/bin/sh\nsleep 60 &\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer"):
        git.look_up(git.GitSource("https://host/x"), 0.2)
    assert time.monotonic() - start < 10


@pytest.fixture
def _without_lfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose settings name git-lfs, which is not installed."""
    config = tmp_path / "gitconfig"
    config.write_text(
        '[filter "lfs"]\n\tsmudge = git-lfs smudge -- %f\n\tprocess = git-lfs filter-process\n'
        "\tclean = git-lfs clean -- %f\n\trequired = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda n: None if n == "git-lfs" else which(n))


@pytest.mark.usefixtures("_without_lfs")
@pytest.mark.skipif(shutil.which("git-lfs") is not None, reason="git-lfs is installed here")
def test_a_dataset_with_large_files_without_git_lfs(
    online: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    up = online["flashinfer_trace"]
    (up.folder / ".gitattributes").write_text("*.bin filter=lfs diff=lfs -text\n")
    (up.folder / "a.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        up.commit("3")
    assert statuses(clone_repos("repos"))["flashinfer_trace"] == "cloned"
    assert Path("repos/flashinfer-trace/a.bin").read_text().startswith("version https")


def test_other_transports_are_closed_to_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Even where the user's settings open them.
    config = tmp_path / "gitconfig"
    config.write_text('[protocol "ext"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    witness = tmp_path / "witness"
    with pytest.raises(UnreachableError, match="not allowed"):
        git.look_up(git.GitSource(f"ext::sh -c touch% {witness}"))
    assert not witness.exists()


def test_settings_in_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    variables = git_process.environment()
    assert variables["GIT_CONFIG_COUNT"] == "7"
    assert "GIT_CONFIG_KEY_1" not in variables
    assert variables["GIT_CONFIG_KEY_2"] == "core.hooksPath"
    assert variables["GIT_CONFIG_KEY_4"] == "filter.lfs.smudge"


@pytest.mark.usefixtures("without_pip")
def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    config = clone_repos("repos")
    assert statuses(config)["sglang"] == "downloaded"
    assert "git is not installed" in config.repositories["sglang"].message
    with pytest.raises(SourceError, match="git is not installed"):
        clone_repos("other", sglang="https://host/x.git")
