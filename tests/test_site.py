"""The site of docs/: every page is in its navigation, and links between pages lead somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import fibcore

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`(?!\])", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def named(entry: Any) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(entry, str):
        yield entry
        return
    for part in entry.values() if isinstance(entry, dict) else entry:
        yield from named(part)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    texts = _HEADING.findall(_FENCED.sub("", page.read_text("utf-8")))
    words = (re.sub(r"[^\w\s-]", "", text.lower()).strip() for text in texts)
    return {re.sub(r"[-\s]+", "-", text) for text in words}


def test_every_page_is_in_the_navigation_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert sorted(named(site["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_hold(page: str) -> None:
    path = DOCS / page
    for link in _LINK.findall(_CODE.sub("", path.read_text("utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path if not name else (path.parent / name).resolve()
        assert target.is_file(), f"{page}: {link}"
        assert target.is_relative_to(DOCS), f"{page}: {link} is not on the site"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_function_of_the_api_is_on_its_page() -> None:
    page = (DOCS / "api/functions.md").read_text("utf-8")
    for name in fibcore.__all__:
        value = getattr(fibcore, name)
        if callable(value) and not isinstance(value, type) and name != "hookimpl":
            source = inspect.unwrap(value)
            assert f"::: {source.__module__}.{source.__name__}\n" in page, name


def test_the_tutorial_is_done_as_it_says(
    sglang: Callable[[str], Path],
    installed_plugins: None,  # noqa: ARG001 - asked for what it checks
    tmp_path: Path,
) -> None:
    for module in ("torch", "pytest", "jinja2"):
        pytest.importorskip(module)
    text = (DOCS / "tutorial.md").read_text("utf-8")
    config = re.search(r"```json config.json\n(.*?)```", text, re.DOTALL)
    assert config is not None
    (tmp_path / "config.json").write_text(config[1])
    (tmp_path / "repos").mkdir()  # what clone-repos makes
    (tmp_path / "repos" / "sglang").symlink_to(sglang("0.5.23"))
    commands = [*re.findall(r"^    (fibcore .+)$", text, re.MULTILINE)]
    commands += re.findall(r"`(fibcore [a-z]+ [^`]*--config [^`]*)`", text)
    assert len(commands) >= 8
    for command in commands:
        if command != "fibcore clone-repos":
            done = subprocess.run(  # noqa: S603 - our own command line
                [sys.executable, "-m", *shlex.split(command)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "my-dataset/reports/index.html").is_file()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material")):
        pytest.skip("the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(  # noqa: S603 - our own command line
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pictures/elaboration.svg").is_file()
    for page in tmp_path.rglob("*.html"):  # read without a network
        assert not re.search(r"<(?:script|img)[^>]+src=.?https?:", page.read_text("utf-8")), page
    assert "fibcore_extract" in (tmp_path / "api/plugin.html").read_text("utf-8")
