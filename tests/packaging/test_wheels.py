"""The wheels hold every file of their packages and the license, and nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

import fibcore

if TYPE_CHECKING:
    from conftest import Built

ROOT = Path(__file__).parents[2]
PROJECTS = {
    "fibcore": ROOT,
    **{f"fibcore_{p.parent.name}": p.parent for p in ROOT.glob("plugins/*/pyproject.toml")},
}


def files_of(package: Path) -> dict[str, bytes]:
    return {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_of(name: str, built: Built) -> zipfile.ZipFile:
    (path,) = [wheel for wheel in built.wheels if wheel.name.split("-")[0] == name]
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("name", PROJECTS)
def test_every_file_of_the_package_is_in_its_wheel(name: str, built: Built) -> None:
    with wheel_of(name, built) as wheel:
        content = {file: wheel.read(file) for file in wheel.namelist() if ".dist-info/" not in file}
    assert content == files_of(PROJECTS[name] / name)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_has_the_license_and_says_so(name: str, built: Built) -> None:
    with wheel_of(name, built) as wheel:
        info = next(f.partition("/")[0] for f in wheel.namelist() if ".dist-info/" in f)
        text = wheel.read(f"{info}/licenses/LICENSE")
        about = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert text == (ROOT / "LICENSE").read_bytes()
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.10"


@pytest.mark.parametrize("name", PROJECTS)
def test_a_source_archive_has_the_license(name: str, tmp_path: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist")
    (built,) = sdist.SdistBuilder(str(PROJECTS[name])).build(directory=str(tmp_path))
    path = Path(built)
    with tarfile.open(path) as archive:
        top = path.name.removesuffix(".tar.gz")
        held = archive.extractfile(f"{top}/LICENSE")
        assert held is not None
        assert held.read() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", [name for name in PROJECTS if name != "fibcore"])
def test_a_plugin_takes_this_fibcore_and_not_the_next_one(name: str, built: Built) -> None:
    with wheel_of(name, built) as wheel:
        info = next(f.partition("/")[0] for f in wheel.namelist() if ".dist-info/" in f)
        about = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    required = [Requirement(text) for text in about.get_all("Requires-Dist", [])]
    (core,) = (r.specifier for r in required if r.name == "fibcore")
    major, minor = map(int, fibcore.__version__.split(".")[:2])
    assert fibcore.__version__ in core
    assert f"{major}.{minor + 1}.0" not in core
    assert "0.0.1" not in core


def test_data_files_are_where_the_code_looks_for_them() -> None:
    """The comparison above would not notice if a folder of data were gone from the package."""
    have = files_of(ROOT / "fibcore")
    for ending in (
        ".html",
        ".css",
        ".js",
        ".jsonl",
        "catalogue.json",
        "facts.json",
        "py.typed",
        ".tmpl",
    ):
        assert any(name.endswith(ending) for name in have), ending
    assert any("/emitted/" in name for name in have)
