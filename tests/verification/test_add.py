"""Writing reference tests into a dataset: which files, which definitions, what is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import scale_toy as toy

from fibcore.errors import DatasetError, UsageError
from fibcore.ops.hookspecs import GroundTruth, OpType, hookimpl
from fibcore.ops.registry import load_plugins
from fibcore.verification import AddTestsReport, add_reference_tests
from fibcore.verification.module_rendering import covered_definitions

CONFTEST = "tests/references/conftest.py"
MODULE = "tests/references/test_scale.py"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition("scale_a"), toy.definition("scale_b"))
    return root


def add(dataset: Path, plugin: object = None, **options: object) -> AddTestsReport:
    registry = toy.registry(plugin) if plugin is not None else toy.registry()
    return add_reference_tests(dataset=dataset, registry=registry, **options)  # type: ignore[arg-type]


def covered(dataset: Path) -> dict[str, float | None]:
    return covered_definitions((dataset / MODULE).read_text())


def stamps(dataset: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in (dataset / "tests").rglob("*.py")}


def test_all_writes_conftest_and_module(dataset: Path) -> None:
    report = add(dataset, all_=True)
    assert report.written == (CONFTEST, MODULE)
    assert report.exit_code == 0
    assert report.tests == {"scale_a": MODULE, "scale_b": MODULE}
    assert report.ground_truths["scale_a"] == ("flashinfer.scale", "sglang Scale.forward_native")
    assert covered(dataset) == {"scale_a": None, "scale_b": None}
    assert report.to_dict()["written"] == [CONFTEST, MODULE]


def test_one_module_a_definition(dataset: Path) -> None:
    report = add(dataset, all_=True, per_definition=True)
    modules = [f"tests/references/test_scale_{letter}.py" for letter in "ab"]
    assert report.written == (CONFTEST, *modules)
    assert report.tests == dict(zip(("scale_a", "scale_b"), modules, strict=True))
    text = (dataset / modules[0]).read_text()
    assert covered_definitions(text) == {"scale_a": None}
    assert 'ONLY = "scale_a"' in text
    before = stamps(dataset)
    assert add(dataset, definition_name=["scale_a"], per_definition=True).written == ()
    assert stamps(dataset) == before


def test_no_definition_is_tested_twice(dataset: Path) -> None:
    add(dataset, all_=True)
    report = add(dataset, all_=True, per_definition=True)
    assert report.exit_code == 1
    assert "twice" in report.refused[0].reason
    assert report.written == ()


def test_second_run_changes_no_byte(dataset: Path) -> None:
    add(dataset, all_=True)
    before = stamps(dataset)
    report = add(dataset, op_type=["scale"])
    assert report.written == ()
    assert report.unchanged == (CONFTEST, MODULE)
    assert stamps(dataset) == before


def test_line_ends_that_git_changed_are_no_other_text(dataset: Path) -> None:
    add(dataset, all_=True)
    module = dataset / MODULE
    module.write_bytes(module.read_bytes().replace(b"\n", b"\r\n"))
    before = module.read_bytes()
    assert add(dataset, all_=True).unchanged == (CONFTEST, MODULE)
    assert module.read_bytes() == before


def test_name_adds_to_what_is_covered(dataset: Path) -> None:
    add(dataset, definition_name=["scale_b"])
    assert covered(dataset) == {"scale_b": None}
    toy.write(dataset, toy.definition("scale_c"))
    add(dataset, definition_name=["scale_c"])
    assert covered(dataset) == {"scale_b": None, "scale_c": None}
    add(dataset, definitions_dir=dataset / "definitions" / "scale")
    assert covered(dataset) == {"scale_a": None, "scale_b": None, "scale_c": None}


def test_definition_that_is_gone_leaves_the_module(dataset: Path) -> None:
    add(dataset, all_=True)
    (dataset / "definitions/scale/scale_a.json").unlink()
    add(dataset, definition_name=["scale_b"])
    assert covered(dataset) == {"scale_b": None}


def test_tolerance_stays_until_another_one_or_force(dataset: Path) -> None:
    add(dataset, all_=True)
    add(dataset, definition_name=["scale_b"], tolerance=0.01)
    assert covered(dataset) == {"scale_a": None, "scale_b": 0.01}
    add(dataset, all_=True)
    assert covered(dataset) == {"scale_a": None, "scale_b": 0.01}
    add(dataset, definition_name=["scale_a"], tolerance=0.5)
    add(dataset, definition_name=["scale_b"], force=True)
    assert covered(dataset) == {"scale_a": 0.5, "scale_b": None}


def test_edited_file_is_kept_until_forced(dataset: Path) -> None:
    add(dataset, all_=True)
    module = dataset / MODULE
    mine = module.read_text() + "\n# mine\n"
    module.write_text(mine)
    toy.write(dataset, toy.definition("scale_c"))
    report = add(dataset, all_=True)
    assert module.read_text() == mine
    assert [r.path for r in report.refused] == [MODULE]
    assert "edited" in report.refused[0].reason
    assert report.exit_code == 1
    report = add(dataset, all_=True, force=True)
    assert report.exit_code == 0
    assert report.written == (MODULE,)
    assert "scale_c" in covered(dataset)


def test_foreign_conftest_is_kept_and_stops_the_modules(dataset: Path) -> None:
    path = dataset / CONFTEST
    path.parent.mkdir(parents=True)
    path.write_text("import pytest\n")
    report = add(dataset, all_=True)
    assert path.read_text() == "import pytest\n"
    assert [r.path for r in report.refused] == [CONFTEST, MODULE]
    assert not (dataset / MODULE).exists()
    assert add(dataset, all_=True, force=True).written == (CONFTEST, MODULE)


def test_edited_conftest_serves_the_modules(dataset: Path) -> None:
    add(dataset, definition_name=["scale_a"])
    path = dataset / CONFTEST
    path.write_text(path.read_text() + "\n# mine\n")
    report = add(dataset, all_=True)
    assert [r.path for r in report.refused] == [CONFTEST]
    assert report.written == (MODULE,)


# What an earlier version wrote, when conftest.py was one file of fibcore's, not of several modules.
OLD_CONFTEST = """\
# Generated by fibcore 0.1.0 (fibcore add-reference-tests), which keeps the file as it is
# once it was edited, unless it is called with --force.
# fibcore-content: sha256=26d4b71f14c4c8417e1343fff6fd1b0bb135f4a6953988f1f80d4c9883b54711
\"\"\"What the reference tests in this folder share; needs pytest and torch and nothing else.\"\"\"

from __future__ import annotations
import __future__
"""


def test_conftest_of_an_earlier_version_is_updated(dataset: Path) -> None:
    add(dataset, all_=True)
    new = (dataset / CONFTEST).read_text()
    (dataset / CONFTEST).write_text(OLD_CONFTEST)
    report = add(dataset, all_=True)
    assert report.exit_code == 0
    assert report.written == (CONFTEST,)
    assert report.unchanged == (MODULE,)
    assert (dataset / CONFTEST).read_text() == new


def test_edited_conftest_of_an_earlier_version_is_kept(dataset: Path) -> None:
    path = dataset / CONFTEST
    path.parent.mkdir(parents=True)
    path.write_text(OLD_CONFTEST + "# mine\n")
    report = add(dataset, all_=True)
    assert [r.path for r in report.refused] == [CONFTEST]
    assert path.read_text() == OLD_CONFTEST + "# mine\n"


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00", b""])
def test_file_that_is_no_text_is_a_strangers(dataset: Path, junk: bytes) -> None:
    path = dataset / MODULE
    path.parent.mkdir(parents=True)
    path.write_bytes(junk)
    report = add(dataset, all_=True)
    assert [r.path for r in report.refused] == [MODULE]
    assert path.read_bytes() == junk


@pytest.mark.parametrize(
    "options",
    [{}, {"all_": True, "op_type": ["scale"]}, {"op_type": ["scale"], "definition_name": ["x"]}],
)
def test_exactly_one_selector(dataset: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="say which definitions"):
        add(dataset, **options)
    assert not (dataset / "tests").exists()


@pytest.mark.parametrize(
    ("options", "near"),
    [({"op_type": ["scael"]}, "scale"), ({"definition_name": ["scale_aa"]}, "scale_a")],
)
def test_unknown_names_give_the_nearest(
    dataset: Path, options: dict[str, object], near: str
) -> None:
    with pytest.raises(UsageError, match="there is no such") as caught:
        add(dataset, **options)
    assert near in (caught.value.expected or "")


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_impossible_tolerance(dataset: Path, tolerance: float) -> None:
    with pytest.raises(UsageError, match="no such tolerance"):
        add(dataset, all_=True, tolerance=tolerance)


def test_folder_outside_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not one of the dataset's definitions"):
        add(dataset, definitions_dir=tmp_path)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset"):
        add(tmp_path / "nowhere", all_=True)
    assert not (tmp_path / "nowhere").exists()


def test_op_type_without_definitions_is_reported(dataset: Path, tmp_path: Path) -> None:
    other = toy.ToyPlugin(op_type="other")
    report = add(dataset, other, op_type=["other"])
    assert report.exit_code == 1
    assert "no definitions of the op type other" in str(report.problems[0])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert add(empty, all_=True).exit_code == 1


def test_broken_definition_is_reported_and_the_others_go_on(dataset: Path) -> None:
    (dataset / "definitions/scale/scale_b.json").write_text("{")
    report = add(dataset, all_=True)
    assert report.tests == {"scale_a": MODULE}
    assert "scale_b.json" in str(report.problems[0])
    assert report.exit_code == 1
    with pytest.raises(DatasetError, match=r"scale_b\.json"):
        add(dataset, definition_name=["scale_b"])


def test_plugin_without_tests_is_reported(dataset: Path) -> None:
    report = add(dataset, toy.ToyPlugin(template=None), all_=True)
    assert "hook fibcore_test_template" in str(report.problems[0])
    assert report.written == ()
    assert report.exit_code == 1


def with_another(dataset: Path, *truths: GroundTruth) -> AddTestsReport:
    """Add tests with a second plugin, which has ground truths for definitions of any op type."""
    another = SimpleNamespace(
        fibcore_op_types=hookimpl(lambda: [OpType("a_first", "another op")]),
        fibcore_ground_truths=hookimpl(lambda: truths),
    )
    registry = load_plugins(extra={"another": another, "scale": toy.ToyPlugin()}, discover=False)
    return add_reference_tests(dataset=dataset, registry=registry, all_=True)


def fast(source: str, entry: str = "another_scale") -> GroundTruth:
    return GroundTruth("another scale", "torch", entry, source)


def test_ground_truths_of_another_plugin_follow_the_owner_s(dataset: Path) -> None:
    source = "import torch\n\n\ndef another_scale(x, factor):\n    return x * factor\n"
    report = with_another(dataset, fast(source))
    assert report.problems == ()
    own = ("flashinfer.scale", "sglang Scale.forward_native")
    assert report.ground_truths["scale_a"] == (*own, "another scale")
    assert "def another_scale(x, factor):" in (dataset / MODULE).read_text()


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        ("def cases():\n    return []\n", "cases"),
        ("def {0}():\n    return []\n", "{0}"),
        ("from math import e as torch\n\n\ndef another_scale():\n    pass\n", "another_scale"),
    ],
    ids=["a name of the template", "a name of the owner's ground truth", "an import"],
)
def test_ground_truths_of_another_plugin_may_have_any_names(
    dataset: Path, source: str, entry: str
) -> None:
    own = toy.FLASHINFER_TRUTH.entry
    report = with_another(dataset, fast(source.format(own), entry.format(own)))
    assert report.problems == ()
    assert report.ground_truths["scale_a"][-1] == "another scale"
    assert f'"entry": "{entry.format(own)}_' in (dataset / MODULE).read_text()


def test_ground_truths_of_another_plugin_that_do_not_fit_are_left_out(dataset: Path) -> None:
    add(dataset, all_=True)
    before = (dataset / MODULE).read_bytes()
    report = with_another(dataset, fast("import no_such\n\n\ndef another_scale():\n    pass\n"))
    assert (dataset / MODULE).read_bytes() == before
    (problem,) = report.problems
    assert str(problem.where).startswith("ground truths of plugin another, ")
    assert "no_such" in str(problem.found)
    assert report.exit_code == 1


def test_another_plugin_that_fails_takes_no_ground_truth_from_the_owner(dataset: Path) -> None:
    add(dataset, all_=True)
    before = (dataset / MODULE).read_bytes()
    report = with_another(dataset, fast("def"))
    assert (dataset / MODULE).read_bytes() == before
    assert "plugin another, hook fibcore_ground_truths" in str(report.problems[0])


def test_plugin_that_fails_is_reported_and_the_others_go_on(dataset: Path) -> None:
    truths = {"scale_a": ValueError("no idea"), "scale_b": (toy.TORCH_TRUTH,)}
    report = add(dataset, toy.ToyPlugin(truths), all_=True)
    assert "no idea" in str(report.problems[0])
    assert covered(dataset) == {"scale_b": None}
    assert report.exit_code == 1


def test_sources_that_do_not_fit_leave_the_old_module(dataset: Path) -> None:
    add(dataset, all_=True)
    before = (dataset / MODULE).read_text()
    wrong = attrs.evolve(toy.TORCH_TRUTH, source="import no_such\n" + toy.TORCH)
    report = add(dataset, toy.ToyPlugin((wrong,)), all_=True)
    assert "no_such" in str(report.problems[0])
    assert (dataset / MODULE).read_text() == before


def test_writing_tests_needs_neither_torch_nor_pytest() -> None:
    code = "import fibcore.verification, sys; print({'torch', 'pytest'} & set(sys.modules))"
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_definition_without_ground_truth_is_in_the_table(dataset: Path) -> None:
    report = add(dataset, toy.ToyPlugin(()), all_=True)
    assert report.exit_code == 0
    assert report.ground_truths == {"scale_a": (), "scale_b": ()}
