"""What `--sglang` and its like may say, and what is refused before git or pip see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.errors import UsageError
from fibcore.sources.folders import cache_root
from fibcore.sources.spec import (
    AutoSource,
    GitSource,
    InstalledSource,
    PathSource,
    PypiSource,
    parse_source,
    redacted,
    url_host,
)


def parse(spec: str) -> object:
    return parse_source(spec, "--sglang")


@pytest.mark.parametrize(
    ("spec", "url", "ref"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r.git", None),
        ("https://github.com/o/r.git@v0.5.9", "https://github.com/o/r.git", "v0.5.9"),
        ("https://github.com/o/r@feature/x", "https://github.com/o/r", "feature/x"),
        ("https://token@host/o/r@main", "https://token@host/o/r", "main"),
        ("HTTPS://host/o/r", "https://host/o/r", None),
        ("ssh://git@host:2222/o/r@main", "ssh://git@host:2222/o/r", "main"),
        ("git@host:o/r.git", "git@host:o/r.git", None),
        ("git@host:o/r.git@v1", "git@host:o/r.git", "v1"),
    ],
)
def test_git_urls(spec: str, url: str, ref: str | None) -> None:
    assert parse(spec) == GitSource(url, ref)


@pytest.mark.parametrize(
    "spec",
    [
        "ext::sh -c touch% /tmp/x",
        "ext::https://host/r",
        "fd::17",
        "git::https://host/o/r",
        "git://host/o/r",
        "http://host/o/r",
        "ftp://host/o/r",
        "git+ssh://host/o/r",
        "--upload-pack=touch x",
        "-u",
        "https://host/o/r --upload-pack=touch",
        "https://host/--upload-pack=touch/r",
        "https://host/%2D%2Dupload-pack=touch/r",
        "https://host/o/r\n--upload-pack=touch",
        "https://host",
        "https:///o/r",
        "ssh://-oProxyCommand=touch/r",
        "ssh://git@-oProxyCommand=touch/r",
        "git@host:-o/r",
        "file://host/o/r",
        "https://host/o/r@-x",
        "https://host/o/r@--upload-pack=x",
        "https://host/o/r@a..b",
        "https://host/o/r@a b",
        "https://host/o/r@",
        "https://host/o/r@a:b",
        "",
        " auto",
        "auto\x00",
        "pypi:",
        "pypi:sglang",
        "pypi:sglang==",
        "pypi:sglang>=1",
        "pypi:--index-url==1",
        "pypi:sglang==-1",
        "pypi:sglang==1 --pre",
        "pypi:a/b==1",
    ],
)
def test_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert caught.value.where == "--sglang"
    assert caught.value.expected


def test_names() -> None:
    assert parse("auto") == AutoSource()
    assert parse("installed") == InstalledSource()
    release = parse("pypi:flashinfer-python==0.6.13.post1")
    assert release == PypiSource("flashinfer-python", "0.6.13.post1")
    assert isinstance(release, PypiSource)
    assert release.origin == "pypi:flashinfer-python==0.6.13.post1"


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("./x") == PathSource(tmp_path / "x")
    assert parse("~/x") == PathSource(tmp_path / "x")
    assert parse(f"{tmp_path}/with blank@2") == PathSource(tmp_path / "with blank@2")
    # A bare repository is cloned; a folder with a working tree is used as it is.
    bare = tmp_path / "bare.git"
    (bare / "objects").mkdir(parents=True)
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    assert parse("bare.git") == GitSource(bare.as_uri())
    tree = tmp_path / "tree"
    (tree / ".git").mkdir(parents=True)
    assert parse("tree") == PathSource(tree)


def test_file_urls(tmp_path: Path) -> None:
    repository = tmp_path / "a repository@home"
    (repository / ".git").mkdir(parents=True)
    url = f"file://{repository}"
    assert parse(url) == GitSource(url)
    assert parse(f"{url}@v1") == GitSource(url, "v1")
    plain = tmp_path / "plain"
    plain.mkdir()
    assert parse(plain.as_uri()) == PathSource(plain)


def test_secrets_stay_out_of_reports() -> None:
    source = GitSource("https://me:secret@host/o/r.git", "main")
    assert source.origin == "https://***@host/o/r.git@main"
    assert redacted("fatal: https://ghp_token@host/x failed") == "fatal: https://***@host/x failed"
    assert redacted("ssh://git@host/x") == "ssh://git@host/x"
    with pytest.raises(UsageError) as caught:
        parse("https://me:secret@host/o/r@a b")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://me@host:8443/x", "host:8443"),
        ("git@host:o/r", "host"),
        ("file:///x", ""),
    ],
)
def test_host(url: str, host: str) -> None:
    assert url_host(url) == host


def test_full_commits_cannot_move() -> None:
    assert GitSource("u", "a" * 40).is_commit
    assert not GitSource("u", "a" * 39).is_commit
    assert not GitSource("u").is_commit


def test_a_user_that_there_is_not_is_an_error_of_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="no such user") as caught:
        parse("~nosuchuser/x")
    assert caught.value.where == "--sglang"
    monkeypatch.setenv("FIBCORE_CACHE", "~nosuchuser/x")
    with pytest.raises(UsageError, match="FIBCORE_CACHE: no such user"):
        cache_root()
