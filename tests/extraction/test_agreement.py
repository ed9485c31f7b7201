"""Two plugins agree: what one does not cover gives way to what the other covers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plugin_toy import kernel, plugin, registry

import fibcore
from fibcore.extraction.agreement import agreed
from fibcore.model.kernel import Extraction, KernelCollector
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.ops.hookspecs import hookimpl
from fibcore.ops.registry import Registry
from fibcore.testing.trees import module

GAP = "norm of another form"


def gaps(nodes: list[ModuleNode], **how: Any) -> Extraction:
    """What a plugin says that recognises modules and has no definition for them."""
    found = KernelCollector()
    for node in nodes:
        found.not_covered(GAP, "it has no definition here", node, **how)
    return found.finish()


def kernels(nodes: list[ModuleNode], op_type: str = "toy", **how: Any) -> Extraction:
    """What a plugin says that has a kernel for modules."""
    found = KernelCollector()
    for node in nodes:
        found.add(kernel(op_type), node, **how)
    return found.finish()


A, B = (module(path, "sglang.srt.layers.layernorm.RMSNorm") for path in "ab")


def left(names: Extraction, covers: Extraction) -> list[str]:
    """The layers of the gaps that are left, in the order of either plugin."""
    one = agreed([("names", names), ("covers", covers)])
    other = agreed([("covers", covers), ("names", names)])
    assert one == other[::-1]
    assert one[1] == ("covers", covers)
    assert one[0][1].claimed == names.claimed
    return [use.path for gap in one[0][1].not_covered for use in gap.uses]


def test_a_gap_gives_way_where_a_module_is_a_part_of_what_runs_at_another() -> None:
    def whole(*parts: ModuleNode) -> Extraction:
        found = KernelCollector()
        found.add(kernel("toy"), A)
        for part in parts:
            found.claim(part)
        return found.finish()

    assert left(gaps([A, B]), whole()) == ["b"]
    assert left(gaps([A, B]), whole(B)) == []
    # What another op type's kernel may be is no part of any.
    assert left(gaps([B], op_types=("toy",)), whole(B)) == ["b"]


def test_a_gap_gives_way_to_a_kernel_at_the_same_module() -> None:
    assert left(gaps([A]), kernels([A])) == []
    assert left(gaps([A, B]), kernels([B])) == ["a"]
    assert left(gaps([A]), kernels([B])) == ["a"]


def test_a_gap_gives_way_to_a_kernel_that_the_module_is_a_part_of() -> None:
    found = KernelCollector()
    found.add(kernel("toy"), A)
    found.claim(B)
    assert left(gaps([A, B]), found.finish()) == []
    doubtful = KernelCollector()
    doubtful.add(kernel("toy"), A)
    doubtful.problem("what it is", "it is not known", B)
    assert left(gaps([B]), doubtful.finish()) == ["b"]
    alone = KernelCollector()
    alone.claim(B)
    assert left(gaps([B]), alone.finish()) == ["b"]
    assert left(gaps([B], op_types=("toy",)), found.finish()) == ["b"]


def test_nothing_is_hidden_by_a_kernel_that_runs_beside() -> None:
    assert left(gaps([A]), kernels([A], beside=True)) == ["a"]


def test_a_gap_beside_what_the_module_is_for_gives_way_to_its_own_op_types_alone() -> None:
    assert left(gaps([A], op_types=("other",)), kernels([A])) == ["a"]
    assert left(gaps([A], op_types=("other", "toy")), kernels([A])) == []
    assert left(gaps([A], op_types=("toy",)), kernels([A], beside=True)) == []
    assert left(gaps([A], op_types=()), kernels([A])) == ["a"]


def test_the_module_is_claimed_by_what_it_is_for_alone() -> None:
    assert gaps([A]).claimed == {"a"}
    assert gaps([A], op_types=("toy",)).claimed == frozenset()
    assert kernels([A]).claimed == {"a"}
    assert kernels([A], beside=True).claimed == frozenset()


def test_a_plugin_knows_best_of_its_own_gaps() -> None:
    found = KernelCollector()
    found.add(kernel(), A)
    found.not_covered(GAP, "in another form", A)
    both = found.finish()
    assert agreed([("one", both)]) == (("one", both),)
    assert agreed([("one", both), ("two", kernels([B]))])[0] == ("one", both)


# --- reports --------------------------------------------------------------------------------------


def norms(tree: ModelTree) -> list[ModuleNode]:
    return [node for node in tree.walk() if node.class_name == "RMSNorm"]


def names_norms(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    return gaps(norms(tree))


def covers_norms(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    return kernels(norms(tree))


NAMES = SimpleNamespace(fibcore_extract=hookimpl(names_norms))
COVERS = plugin(extract=covers_norms)

Report = Callable[[Registry], Any]


@pytest.fixture
def reports(tiny_source: Path, tiny_config: Path, tmp_path: Path) -> dict[str, Report]:
    """Every report about models, as a function of the plugins."""
    given: dict[str, Any] = {"sglang": str(tiny_source), "dataset": tmp_path / "d"}
    one = {**given, "config": tiny_config}
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.json").write_text(tiny_config.read_text())
    other = Path(shutil.copytree(tiny_source, tmp_path / "other-source"))
    model = other / "sglang/srt/models/tiny.py"
    model.write_text(model.read_text().replace("self.norm", "self.renamed"))  # something to say
    return {
        "extract": lambda plugins: fibcore.extract("tiny", registry=plugins, **one),
        "coverage": lambda plugins: fibcore.coverage(
            model_name="tiny", dry_run=True, registry=plugins, **one
        ),
        "survey": lambda plugins: fibcore.survey(
            configs=folder, output=tmp_path / "out", registry=plugins, **given
        ),
        "diff": lambda plugins: fibcore.diff(
            "tiny", registry=plugins, **{**one, "sglang": (str(tiny_source), str(other))}
        ),
    }


@pytest.mark.parametrize("name", ["extract", "coverage", "survey", "diff"])
def test_no_report_names_what_another_plugin_covers(reports: dict[str, Report], name: str) -> None:
    alone = json.dumps(reports[name](registry(names=NAMES)).to_dict())
    assert GAP in alone
    both = json.dumps(reports[name](registry(names=NAMES, covers=COVERS)).to_dict())
    assert GAP not in both
    assert "toy_h8" in both
