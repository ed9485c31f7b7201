"""Wheels of fibcore and its plugins, and fresh environments that hold them and what they declare.

An environment holds the wheels and, as links, the distributions that their metadata asks for with
some extras, closed over what those ask for in turn; they are taken from the environment in which
the tests run. So it needs no network and a second, and a package that is imported and not declared
is missing in it, as it would be for a user.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import attrs
import pytest
from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT, *sorted(p.parent for p in (ROOT / "plugins").glob("*/pyproject.toml")))


def pip(*arguments: str) -> None:
    """Run pip of this interpreter without network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 0, done.stdout + done.stderr


@attrs.frozen
class Built:
    """What was built of the project.

    Attributes:
        wheels: The wheels of fibcore and of all plugins.
        installed: The folder in which they are installed, without anything else.
    """

    wheels: tuple[Path, ...]
    installed: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Wheels of fibcore and of all plugins, built without network."""
    for module in ("pip", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed, so no wheel can be built")
    base = tmp_path_factory.getbasetemp()
    # The processes of pytest-xdist have folders of their own below a common one.
    folder = (base.parent if base.name.startswith("popen-") else base) / "built"
    wheels, installed = folder / "wheels", folder / "installed"
    with FileLock(f"{folder}.lock"):
        if not installed.exists():
            from hatchling.builders.wheel import WheelBuilder

            for project in PROJECTS:  # as pip does, which takes processes for each
                builder = WheelBuilder(str(project))
                list(builder.build(directory=str(wheels), versions=["standard"]))
            paths = [str(wheel) for wheel in wheels.glob("*.whl")]
            pip("install", "--no-deps", "--no-index", "--target", str(installed), *paths)
    return Built(tuple(sorted(wheels.glob("*.whl"))), installed)


@attrs.frozen
class Environment:
    """A virtual environment.

    Attributes:
        folder: Its folder.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run its Python; nothing of the environment of the tests is seen there."""
        return subprocess.run(  # noqa: S603 - our own command line
            [str(self.python), "-I", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={"PATH": str(self.folder / "bin"), "HOME": str(cwd), "OMP_NUM_THREADS": "1"},
        )

    def fibcore(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command of fibcore in it."""
        return self.run("-m", "fibcore", *arguments, cwd=cwd)


Make = Callable[..., Environment]


@pytest.fixture(scope="session")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function from extras to a fresh environment with the wheels and what they declare."""
    own = {d.name: d for d in metadata.distributions(path=[str(built.installed)])}
    requirements = [Requirement(text) for d in own.values() for text in d.requires or ()]
    if sys.platform == "win32":
        pytest.skip("environments are made of links")

    def make(*extras: str) -> Environment:
        made = Environment(tmp_path_factory.mktemp("-".join(("env", *extras))))
        venv.create(made.folder, with_pip=False, symlinks=True)
        link(own | closure(requirements, extras), made.packages)
        return made

    return make


@pytest.fixture
def bare(built: Built, tmp_path: Path) -> Environment:
    """A fresh environment with what the project's wheels declare, and without those wheels."""
    own = metadata.distributions(path=[str(built.installed)])
    requirements = [Requirement(text) for d in own for text in d.requires or ()]
    if sys.platform == "win32":
        pytest.skip("environments are made of links")
    made = Environment(tmp_path / "bare")
    venv.create(made.folder, with_pip=False, symlinks=True)
    link(closure(requirements, ()), made.packages)
    return made


@pytest.fixture
def install_wheel(tmp_path: Path) -> Callable[[Path, Environment], None]:
    """A function that builds the wheel of another project and installs it in an environment."""

    def install(project: Path, environment: Environment) -> None:
        wheels = tmp_path / "wheels"
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(project))
        paths = [str(wheel) for wheel in wheels.glob("*.whl")]
        packages = str(environment.packages)
        pip("install", "--no-deps", "--no-index", "--target", packages, *paths)

    return install


def closure(
    requirements: Iterable[Requirement], extras: Sequence[str]
) -> dict[str, metadata.Distribution]:
    """The installed distributions that requirements name, and all that those require, by name.

    Args:
        requirements: Of the project's own distributions, which are left out.
        extras: Extras of those.
    """
    found: dict[str, metadata.Distribution] = {}
    left = [(r, frozenset(extras)) for r in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement, asked = left.pop()
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *asked)
        )
        if (
            not wanted
            or (name, frozenset(requirement.extras)) in seen
            or name.startswith("fibcore")
        ):
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed, which an environment needs")
        own = frozenset(requirement.extras)
        left += [(Requirement(text), own) for text in found[name].requires or ()]
    return found


@pytest.fixture(scope="session")
def closure_of() -> Callable[..., dict[str, metadata.Distribution]]:
    """The function `closure`."""
    return closure


def link(distributions: dict[str, metadata.Distribution], packages: Path) -> None:
    """Make links to all that distributions have installed, in the place for packages."""
    for name, distribution in distributions.items():
        files = [file for file in distribution.files or () if file.parts[0] not in (".", "..")]
        assert files, f"{name} does not list its files"
        for top in {file.parts[0] for file in files} - {"__pycache__"}:
            place = packages / top
            if not place.is_symlink():  # a namespace that several distributions share
                place.symlink_to(Path(str(distribution.locate_file(top))).resolve())
