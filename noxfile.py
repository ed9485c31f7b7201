"""Sessions that show what CI does not: every Python, the lowest versions, coverage.

    nox                        lint, types and the tests on this Python
    nox -s tests               the tests on each supported Python
    nox -s lowest              the tests of the core with the lowest versions that it supports
    nox -s coverage            the tests with branch coverage, which has a floor
    nox -s differential        many new random programs in CPython and in the evaluator
    nox -s thorough            every case of tests of which CI takes a share
    nox -s mutation            every mutation of every reference against the tests' properties
    nox -s oracle              elaborated models against transformers' own classes
    nox -s packaging           wheels in fresh environments
    nox -s docs                the site of docs/, where every warning is an error
    nox -s lock                write constraints.txt anew

Arguments after `--` go to pytest: `nox -s tests-3.12 -- tests/dataset`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PLUGINS = tuple(str(path.parent) for path in sorted(Path("plugins").glob("*/pyproject.toml")))
LOCK = "constraints.txt"
# The peers that tests compare with would bring CUDA; what they need for that is named here.
PEERS = ("flashinfer-bench", "flashinfer-python")
PEERS_NEED = (
    *("apache-tvm-ffi", "docstring-parser", "einops", "ninja", "nvidia-ml-py", "pydantic"),
    *("requests", "tabulate", "tqdm"),
)
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
PARALLEL = ("-n", "2", "--dist", "worksteal", "-q")

nox.options.sessions = ["lint", "types", f"tests-{sys.version_info[0]}.{sys.version_info[1]}"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2024.4.15"


def install(session: nox.Session, *extras: str) -> None:
    """Install fibcore with extras and its plugins, editable, in the versions of the lock."""
    arguments = ["--constraint", LOCK, "--editable", f".[{','.join(extras)}]"]
    for plugin in PLUGINS:
        arguments += ["--editable", plugin]
    session.install("--constraint", LOCK, "hatchling", "editables")
    if "test" in extras and sys.platform == "linux" and shutil.which("nvidia-smi") is None:
        # Alone, without a second try: where this index is out of reach, every package would wait.
        index = ("--retries", "0", "--extra-index-url", CPU_TORCH)
        session.install("--constraint", LOCK, *index, "torch", "numpy")
    session.install("--no-build-isolation", *arguments)
    if "test" in extras:
        session.install("--constraint", LOCK, *PEERS_NEED)
        session.install("--constraint", LOCK, "--no-deps", *PEERS)


def pytest(session: nox.Session, *default: str, always: tuple[str, ...] = ()) -> None:
    """Run tests; what the session is given takes the place of the default arguments."""
    session.env["OMP_NUM_THREADS"] = "1"
    if "FIBCORE_SGLANG" not in os.environ:
        found = session.run("python", "tests/conftest.py", silent=True, success_codes=[0, 1])
        session.env["FIBCORE_SGLANG"] = str(found).partition("\n")[0]
    arguments = session.posargs or (*PARALLEL, *default)
    session.run("python", "-m", "pytest", *always, *arguments)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, in the versions of the lock."""
    install(session, "test")
    pytest(session)


@nox.session
def thorough(session: nox.Session) -> None:
    """All tests, with every case of those that take a share of theirs."""
    install(session, "test")
    session.env["FIBCORE_TEST_ALL"] = "1"
    pytest(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The core's tests with the lowest versions that pyproject.toml allows, on the lowest Python.

    Without torch, whose old wheels for Linux bring gigabytes of CUDA libraries: tests that need it
    are skipped, and those of verification and of plugins left out.
    """
    session.install("uv")
    lock = Path(session.create_tmp()) / "lowest.txt"
    extras = [f"--extra={name}" for name in ("bench", "dask", "report", "web")]
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", *extras, "--resolution", "lowest-direct"),
        *("--python-version", PYTHONS[0], "--quiet", "--output-file", str(lock)),
    )
    session.install("-r", str(lock), "pytest==8.1", "hypothesis", "pytest-xdist", "selenium")
    plugins = [argument for plugin in PLUGINS for argument in ("--editable", plugin)]
    # Isolated: hatchling asks for a newer `packaging` than the core does.
    session.install("--no-deps", "--editable", ".", *plugins)
    pytest(session, "tests", "--ignore=tests/verification", "--ignore=tests/packaging")


@nox.session
def packaging(session: nox.Session) -> None:
    """Wheels in fresh environments: the core without extras, and each extra."""
    install(session, "test")
    pytest(session, "tests/packaging")


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the tests; pyproject.toml has the floor."""
    install(session, "test")
    pytest(session, always=("--cov", "--cov-report=term:skip-covered"))


@nox.session
def differential(session: nox.Session) -> None:
    """The evaluator against CPython: new random programs.

    Their number, and the seed of the first one, come after `--`.
    """
    install(session, "test")
    session.env["FIBCORE_RANDOM_PROGRAMS"] = session.posargs[0] if session.posargs else "20000"
    first = session.posargs[1] if len(session.posargs) > 1 else str(secrets.randbelow(10**9))
    session.env["FIBCORE_RANDOM_FIRST"] = first
    session.log(f"the seed of the first program is {first}")
    folder = "tests/elaborate/python/differential"
    session.run("python", "-m", "pytest", "-q", "-n", "2", folder)


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutations of references, each killed or judged; `-- plugins/op_moe` for one plugin."""
    install(session, "test")
    session.env["OMP_NUM_THREADS"] = "1"
    session.run("python", "tools/mutate_references.py", *session.posargs)


@nox.session
def oracle(session: nox.Session) -> None:
    """Elaborated models against transformers' own classes on the meta device."""
    install(session, "test", "oracle")
    pytest(session, "tests/elaborate/test_second_derivation.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, and the layers of the package."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    install(session, "lint", "test")
    packages = [str(path) for path in sorted(Path("plugins").glob("*/fibcore_op_*"))]
    session.run("mypy", "fibcore", *packages)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in build/site; `-- serve` shows it while pages are written."""
    install(session, "docs")
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", *(session.posargs or ("build", "--strict")))


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt: what CI installs, for every Python; what is there stays if it fits.

    `nox -s lock -- --upgrade` takes the newest versions of all.
    """
    session.install("uv")
    more = Path(session.create_tmp()) / "more.in"
    more.write_text("\n".join((*PEERS_NEED, "editables", "hatchling")) + "\n")
    head = Path(LOCK).read_text().partition("\n\n")[0]  # kept by hand
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", str(more), "--extra", "dev", "--universal"),
        *("--python-version", PYTHONS[0], "--no-header", "--no-annotate", "--quiet"),
        *("--output-file", LOCK, *session.posargs),
    )
    pins = Path(LOCK).read_text()
    Path(LOCK).write_text(f"{head}\n\n{pins}")
