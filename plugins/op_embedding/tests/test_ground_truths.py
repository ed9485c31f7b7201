"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_embedding as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import VERSIONS, sglang_package
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize(
    ("tp", "first"),
    [
        (1, "sglang UnquantizedEmbeddingMethod.embedding"),
        (2, "sglang get_masked_input_and_mask, UnquantizedEmbeddingMethod.embedding"),
    ],
)
def test_ground_truths_in_order_of_preference(definition: Make, tp: int, first: str) -> None:
    sglang, of_torch = plugin.fibcore_ground_truths(definition(tp))
    assert (sglang.name, sglang.kind) == (first, "sglang")
    assert (of_torch.name, of_torch.kind) == ("torch.nn.functional.embedding", "torch")
    assert of_torch.solution


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {**made.outputs, "scale": made.outputs["output"]}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


def agrees(made: Definition, template: Template, kind: str, *first: Any) -> None:
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        assert torch.equal(run(*inputs.values()), entry(*first, **inputs))


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_references_agree_with_sglang(
    definition: Make, template: Template, tp: int, version: str
) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    agrees(definition(tp), template, "sglang", harness().SGLangSource(package))


@pytest.mark.parametrize("tp", [1, 2])
def test_the_references_agree_with_torch(definition: Make, template: Template, tp: int) -> None:
    agrees(definition(tp), template, "torch")
