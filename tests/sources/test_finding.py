"""`find_source`: the package is located and read, and never imported."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fibcore.errors import SourceError, UsageError
from fibcore.sources import fetching, finding, git, pypi
from fibcore.sources.finding import find_for_tests, find_source
from fibcore.sources.git_process import UnreachableError
from fibcore.sources.repos_config import repository_path
from fibcore.sources.spec import PypiSource

GIT = shutil.which("git") or ""
SGLANG_INSTALLED = importlib.util.find_spec("sglang") is not None
needs_git = pytest.mark.skipif(not GIT, reason="git is not installed")


def package(folder: Path, version: str = "0.5.9") -> Path:
    """A sglang package that must not be imported."""
    root = folder / "sglang"
    (root / "srt" / "models").mkdir(parents=True)
    (root / "srt" / "models" / "llama.py").touch()
    (root / "__init__.py").write_text("raise SystemExit('imported')")
    (root / "_version.py").write_text(f"__version__ = version = {version!r}\n")
    return root


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIBCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # A sglang that happens to be installed here takes no part.
    find_spec = finding.importlib.util.find_spec
    monkeypatch.setattr(
        finding.importlib.util,
        "find_spec",
        lambda name: None if name == "sglang" else find_spec(name),
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site folder with sglang 0.5.8."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    root = package(tmp_path / "site", "0.5.8")
    monkeypatch.syspath_prepend(str(root.parent))
    return root


def test_nothing_there() -> None:
    with pytest.raises(SourceError, match="no sglang source") as caught:
        find_source(None, Path("repos"))
    assert "clone-repos" in str(caught.value.hint)
    assert "--sglang" in str(caught.value.hint)
    with pytest.raises(SourceError, match="not installed"):
        find_source("installed", Path("repos"))


@pytest.mark.parametrize("form", ["{0}", "{0}/sglang", "file://{0}", "file://{0}/sglang"])
def test_paths(tmp_path: Path, form: str) -> None:
    root = package(tmp_path / "mine")
    found = find_source(form.format(tmp_path / "mine"), Path("repos"))
    assert (found.root, found.version, found.commit) == (root, "0.5.9", None)
    assert found.origin.startswith(str(tmp_path / "mine"))


def test_paths_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        find_source(str(tmp_path / "none"), Path("repos"))
    with pytest.raises(SourceError, match="not in this folder"):
        find_source(str(tmp_path), Path("repos"))
    with pytest.raises(UsageError):
        find_source("ext::sh -c true", Path("repos"))


def test_installed_package_is_not_imported(installed: Path) -> None:
    found = find_source("installed", Path("repos"))
    assert (found.root, found.version, found.origin) == (installed, "0.5.8", "installed")
    assert find_source(None, Path("repos")) == found
    assert find_source("auto", Path("repos")) == found
    assert "sglang" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_target_folder_comes_before_the_installed_package() -> None:
    package(Path("repos/sglang/python"), "0.5.23")
    assert find_source(None, Path("repos")).version == "0.5.23"
    assert find_source("auto", Path("repos")).version == "0.5.23"
    assert find_source("installed", Path("repos")).version == "0.5.8"


@pytest.mark.skipif(SGLANG_INSTALLED, reason="sglang is installed here")
def test_a_folder_named_like_the_package_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "sglang" / "python").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SourceError, match="not installed"):
        find_source("installed", Path("repos"))


def test_repos_config_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = package(tmp_path / "elsewhere")
    target = tmp_path / "repos"
    target.mkdir()

    def write(path: object) -> None:
        data = {"target_dir": "./repos", "repositories": {"sglang": {"path": path}}}
        (target / "repos_config.json").write_text(json.dumps(data))

    write(str(tmp_path / "elsewhere"))
    assert find_source(None, target).root == root
    assert repository_path(target, "flashinfer_trace") is None
    (target / "flashinfer-trace").mkdir()
    assert repository_path(target, "flashinfer_trace") == target / "flashinfer-trace"
    write("./repos/gone")
    with pytest.raises(SourceError, match="not where it was put"):
        find_source(None, target)
    # What lies in its usual place is found from every folder.
    write("./repos/sglang")
    package(target / "sglang")
    monkeypatch.chdir("/")
    assert find_source(None, target).root == target / "sglang" / "sglang"


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"repositories": 1}', '{"repositories": {"sglang": {"path": 1}}}', "{}", "\xff"],
)
def test_a_broken_repos_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "repos_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match=r"repos_config\.json") as caught:
        find_source(None, tmp_path)
    assert caught.value.hint


def fake_wheel(monkeypatch: pytest.MonkeyPatch) -> list[PypiSource]:
    """Stands in for pip; what was downloaded."""
    done: list[PypiSource] = []

    def download(source: PypiSource, folder: Path, *_: object) -> Path:
        done.append(source)
        wheel = folder / "x.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("sglang/__init__.py", "")
            archive.writestr("sglang/srt/models/llama.py", "")
        return wheel

    monkeypatch.setattr(pypi, "download_wheel", download)
    return done


def test_releases_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    done = fake_wheel(monkeypatch)
    first = find_source("pypi:sglang==0.5.9", Path("repos"))
    again = find_source("pypi:sglang==0.5.9", Path("repos"))
    other = find_source("pypi:sglang==0.5.8", Path("repos"))
    assert first == again
    assert (first.version, first.origin) == ("0.5.9", "pypi:sglang==0.5.9")
    assert other.version == "0.5.8"
    assert other.root != first.root
    assert [d.version for d in done] == ["0.5.9", "0.5.8"]
    assert not Path("repos").exists()


def test_an_interrupted_download_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(monkeypatch)

    def interrupted(_: Path, name: str, folder: Path) -> None:
        (folder / name / "srt" / "models").mkdir(parents=True)
        raise KeyboardInterrupt from None

    with monkeypatch.context() as patch:
        patch.setattr(pypi, "unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_source("pypi:sglang==0.5.9", Path("repos"))
    assert not [p for p in Path("cache").rglob("*") if p.is_dir() and p.name == "sglang"]
    assert find_source("pypi:sglang==0.5.9", Path("repos")).version == "0.5.9"


def test_auto_without_a_git_host_takes_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    done = fake_wheel(monkeypatch)

    def unreachable(*_: object) -> None:
        raise UnreachableError("no answer")

    monkeypatch.setattr(git, "look_up", unreachable)
    said: list[str] = []
    found = find_source("auto", Path("repos"), progress=lambda step, *_: said.append(step))
    assert done == [fetching.UPSTREAM["sglang"].pypi]
    assert found.origin == fetching.UPSTREAM["sglang"].pypi.origin
    assert any("no answer" in step for step in said)


@needs_git
def test_git_sources_are_cached_by_commit(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream"
    package(upstream / "python")

    def run(*command: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(  # noqa: S603 - our own command line
            [GIT, *identity, *command], cwd=upstream, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit() -> str:
        run("add", ".")
        run("commit", "-qm", "x", "--allow-empty")
        return run("rev-parse", "HEAD")

    run("init", "-q", "-b", "main")
    first = commit()
    spec = f"{upstream.as_uri()}@main"
    found = find_source(spec, Path("repos"))
    assert (found.commit, found.version, found.origin) == (first, "0.5.9", spec)
    cached = find_source(spec, Path("repos"))
    assert cached == found
    second = commit()
    assert find_source(spec, Path("repos")).commit == second
    # The tree of before is still there for who reads it.
    assert found.root.is_dir()
    upstream.rename(tmp_path / "gone")
    said: list[str] = []
    offline = find_source(spec, Path("repos"), progress=lambda step, *_: said.append(step))
    assert offline.commit == second
    assert any("of before" in step for step in said)
    with pytest.raises(UnreachableError):
        find_source(f"{upstream.as_uri()}@other", Path("repos"))


def test_light_imports() -> None:
    """Locating a source and reading a config needs none of the heavy libraries."""
    code = (
        "import sys, pathlib\n"
        "from fibcore.configs.catalogue import resolve_model\n"
        "from fibcore.configs import hub, model_config\n"
        "from fibcore.sources import clone, finding, pypi\n"
        "resolve_model('llama'); finding.find_source(sys.argv[1], pathlib.Path('repos'))\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'git', 'rich', 'click', 'sglang'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    root = package(Path.cwd() / "mine")
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-c", code, str(root)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_sglang_is_found_where_the_tests_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIBCORE_SGLANG", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    package = tmp_path / "repos" / "sglang" / "python" / "sglang"
    (package / "srt" / "layers").mkdir(parents=True)
    dataset = tmp_path / "repos" / "trace"
    assert find_for_tests(None, dataset) == package
    assert find_for_tests(None, tmp_path / "elsewhere" / "trace") is None
    for given in (package, package.parent, package.parent.parent):
        assert find_for_tests(given, tmp_path / "elsewhere") == package
    with pytest.raises(SourceError, match="no SGLang source"):
        find_for_tests(tmp_path, dataset)
    monkeypatch.setenv("FIBCORE_SGLANG", str(package))
    assert find_for_tests(None, tmp_path / "elsewhere") == package
    monkeypatch.setenv("FIBCORE_SGLANG", str(tmp_path))
    with pytest.raises(SourceError, match="no SGLang source"):
        find_for_tests(None, dataset)
