"""Mutation of references: a sample of every plugin is killed or judged; what is neither is told."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fibcore.testing.shares import a_share

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "mutate_references.py"

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="judgements name statements as Python 3.11 unparses them"
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603 - our own


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate_references", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_sample_of_plugins_is_killed_or_judged() -> None:
    """Of every other plugin: what a test template lets through is seen by its own tests as well."""
    plugins = a_share(sorted(map(str, (ROOT / "plugins").glob("op_*"))), 2)
    done = run(*plugins, "--sample", "1", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    total = done.stdout.splitlines()[-2].split()
    assert total[3:] == ["0", "all"]
    assert int(total[0]) == int(total[1]) + int(total[2]) > 50


def test_a_survivor_that_is_not_judged_fails(tmp_path: Path) -> None:
    folder = tmp_path / "op_rmsnorm"
    (folder / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "plugins/op_rmsnorm/tests/conftest.py", folder / "tests")
    only = ("--subject", "rmsnorm_*", "--only", "rows = slice(first, first + chunk)")
    done = run(str(folder), *only, "--json", str(tmp_path / "found.json"))
    assert done.returncode == 1
    assert (
        "rmsnorm_h512:27 in run: survived\n  - rows = slice(first, first + chunk)\n" in done.stdout
    )
    assert "  + rows = slice(first + chunk)\n" in done.stdout
    rows = json.loads((tmp_path / "found.json").read_text())
    assert {row["after"] for row in rows if row["killed_by"] is None} == {
        "rows = slice(first + chunk)"
    }
    assert len(rows) > 3


def test_an_endless_reference_is_killed(tmp_path: Path) -> None:
    (plugin,) = (ROOT / "plugins").glob("op_mla")
    only = ("--subject", "mla_ragged*", "--only", "first += shape[0]")
    done = run(str(plugin), *only, "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stdout
    killed = {r["after"]: r["killed_by"] for r in json.loads((tmp_path / "found.json").read_text())}
    assert killed["pass"].endswith("TooLongError")


def test_a_judgement_that_is_about_no_survivor_fails(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from plugin_toy import definition, kernel

    from fibcore.testing.mutations import mutations

    (tmp_path / "tests").mkdir()
    made = definition(kernel(), reference="def run(x):\n    return x + 0\n")
    subject = tool.Subject(tmp_path, made, "")
    same, *others = mutations(made.reference)
    found = [
        tool.Outcome(subject, same, None),
        *(tool.Outcome(subject, other, "one-gives_the_input: AssertionError") for other in others),
    ]
    assert tool.report(found, "cpu", whole=True) == 1
    judged = [{"why": "nothing", "changes": {"run": {same.before: [same.after, "return 7"]}}}]
    path = tmp_path / "tests" / "judged_mutations.json"
    path.write_text(json.dumps(judged))
    assert tool.report(found, "cpu", whole=True) == 1
    assert (
        "judged, but no survivor: in run\n  - return x + 0\n  + return 7" in capsys.readouterr().out
    )
    assert tool.report(found, "cpu", whole=False) == 0
    judged[0]["changes"]["run"][same.before].pop()  # type: ignore[index]
    path.write_text(json.dumps(judged))
    assert tool.report(found, "cpu", whole=True) == 0
    path.write_text(json.dumps([{**judged[0], "on": "cuda"}]))
    assert tool.report(found, "cpu", whole=True) == 1
    path.write_text(json.dumps([{**judged[0], "subjects": ["other_*"]}]))
    assert tool.report(found, "cpu", whole=True) == 2
