"""What users install is enough: the core for extraction and tests, an extra for what needs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Environment

Make = Callable[..., "Environment"]
Done = subprocess.CompletedProcess[str]

DATA = Path(__file__).parents[1] / "data"
MODEL = ("--model-name", "tiny", "--config", DATA / "tiny_config.json", "--sglang", DATA)
SITE = "export const models: Model[] = [\n]\n"


def ok(done: Done) -> str:
    assert done.returncode == 0, f"{done.args}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def core(environment: Make) -> Environment:
    """The core and its plugins, without any extra."""
    return environment()


@pytest.fixture(scope="module")
def work(core: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `d` of a small model that the core alone wrote, and a site."""
    folder = tmp_path_factory.mktemp("work")
    ok(core.fibcore("extract", *MODEL, "--dataset", "d", cwd=folder))
    ok(core.fibcore("add-reference-tests", "--all", "--dataset", "d", cwd=folder))
    (folder / "models.ts").write_text(SITE)
    return folder


@pytest.fixture
def own(work: Path, tmp_path: Path) -> Path:
    """A copy of that folder; what a test adds is in no other's way."""
    return Path(shutil.copytree(work, tmp_path / "own"))


def test_the_core_alone_extracts_and_writes_tests(work: Path) -> None:
    definitions = list((work / "d/definitions").rglob("*.json"))
    op_types = {path.parent.name for path in definitions}
    assert op_types >= {"gemm", "gqa_paged", "gqa_ragged", "rmsnorm"}
    assert len(definitions) >= 9
    assert (work / "d/tests/references/conftest.py").is_file()
    tests = {path.stem for path in (work / "d/tests/references").glob("test_*.py")}
    assert tests == {f"test_{op_type}" for op_type in op_types}


def test_all_plugins_are_active_without_extras(
    core: Environment, work: Path, op_plugin_names: tuple[str, ...]
) -> None:
    plugins = json.loads(ok(core.fibcore("plugins", "--json", cwd=work)))["plugins"]
    assert {p["name"]: p["status"] for p in plugins} == dict.fromkeys(op_plugin_names, "active")


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("models",),
        ("explain", "rmsnorm_h64", "--dataset", "d"),
        ("validate", "--dataset", "d"),
        ("add-solutions", "--op-type", "gemm", "--dataset", "d"),
        ("cost", "d"),
        ("coverage", *MODEL, "--dataset", "d", "--dry-run"),
        ("diff", *MODEL, "--sglang", DATA),
    ],
    ids=lambda command: command[0],
)
def test_commands_that_need_no_extra(
    command: Sequence[str | Path], core: Environment, work: Path
) -> None:
    ok(core.fibcore(*command, cwd=work))


VERIFY = ("verify", "--dataset", "d", "--definition-name", "rmsnorm_h64")
COMMANDS = {
    "report": ("report", "--dataset", "d"),
    "report of coverage": ("coverage", *MODEL, "--dataset", "d"),
    "report of a survey": ("survey", "--configs", DATA, "--sglang", DATA, "--dataset", "d"),
    "web": ("add-new-model", *MODEL, "--dataset", "d", "--web-dir", "models.ts"),
    "bench": ("add-workloads", "--all", "--limit", "1", "--dataset", "d"),
    "verify": VERIFY,
    "dask": (*VERIFY, "--dask", "tcp://127.0.0.1:9"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_without_its_extra_a_command_names_it(what: str, core: Environment, work: Path) -> None:
    done = core.fibcore(*COMMANDS[what], cwd=work)
    assert done.returncode == 1
    assert f"pip install 'fibcore[{what.split()[0]}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_the_extra_report(environment: Make, own: Path) -> None:
    report = environment("report")
    for what in COMMANDS:
        if what.startswith("report"):
            ok(report.fibcore(*COMMANDS[what], cwd=own))
    pages = {path.name for path in (own / "d/reports").glob("*.html")}
    assert pages == {"index.html", "coverage.html", "survey.html"}


def test_with_the_extra_web(environment: Make, own: Path) -> None:
    ok(environment("web").fibcore(*COMMANDS["web"], cwd=own))
    assert 'id: "tiny"' in (own / "models.ts").read_text()


def test_with_the_extra_bench(environment: Make, core: Environment, own: Path) -> None:
    bench = environment("bench")
    ok(bench.fibcore(*COMMANDS["bench"], cwd=own))
    ok(bench.fibcore("validate", "--dataset", "d", cwd=own))
    assert list((own / "d/blob").rglob("*.safetensors"))
    without = core.fibcore("validate", "--dataset", "d", cwd=own)  # now there are tensors
    assert without.returncode == 1
    assert "pip install 'fibcore[bench]'" in without.stderr


def test_with_the_extra_verify(environment: Make, own: Path) -> None:
    done = environment("verify").fibcore(*VERIFY, "--json", cwd=own)
    report = json.loads(ok(done))
    assert report["passed"] > 0
    assert report["failed"] == 0


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    # Threads: a worker process would start with the tests' environment variables.
    with LocalCluster(1, threads_per_worker=1, protocol="tcp", processes=False) as c:
        from fibcore.cli import cli
        sys.exit(cli([*sys.argv[1:], "--dask", c.scheduler_address], standalone_mode=False))
"""


def test_with_the_extra_dask(environment: Make, own: Path) -> None:
    dask = environment("dask", "report")
    (own / "cluster.py").write_text(CLUSTER)
    ok(dask.run("cluster.py", *COMMANDS["report of a survey"], cwd=own))
