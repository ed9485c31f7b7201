"""Embeddings whose rows are multiplied by a number, from the definition to costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_embedding as plugin
from fibcore.plugin import Cost, Definition
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import VERSIONS, sglang_package
from fibcore.testing.templates import CRASHES, Template, load_run, load_source
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_the_format(scaled: Make) -> None:
    made = scaled(256, 64)
    assert made.name == "scaled_embedding_v256_h64"
    assert [(n, t.shape, t.dtype) for n, t in made.inputs.items()] == [
        ("input_ids", ("num_tokens",), "int64"),
        ("weight", ("vocab_size", "hidden_size"), "bfloat16"),
        ("embed_scale", None, "float32"),
    ]
    assert "times embed_scale" in str(made.description)
    assert plugin.fibcore_identify(made).contradictions == ()


@pytest.mark.parametrize(("vocab", "hidden"), [(64, 8), (1024, 100)])
def test_the_reference_has_the_properties(
    scaled: Make, template: Template, vocab: int, hidden: int
) -> None:
    assert_accepted(template, scaled(vocab, hidden))


def agrees(made: Definition, template: Template, kind: str, *first: Any) -> None:
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        assert torch.equal(run(*inputs.values()), entry(*first, **inputs))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_agrees_with_sglang(scaled: Make, template: Template, version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    agrees(scaled(), template, "sglang", harness().SGLangSource(package))


def test_the_reference_agrees_with_torch(scaled: Make, template: Template) -> None:
    agrees(scaled(), template, "torch")


def test_cost_and_workloads(scaled: Make) -> None:
    made = scaled(256, 64)
    found = plugin.fibcore_cost(made, {"num_tokens": 3}, {"input_ids": [5, 5, 6]})
    assert found == Cost(3 * 64, "bfloat16", 3 * 8 + 2 * 128, 3 * 128)
    cases = plugin.fibcore_workloads(made, {"embed_scale": 7.25}, 0)
    assert all(case.scalars == {"embed_scale": 7.25} for case in cases)
    assert plugin.fibcore_workloads(made, {}, 0)[0].scalars == {"embed_scale": 8.0}


LOOK_UP = "weight.index_select(0, input_ids)"
MISTAKES = [
    Mistake.of("not scaled", ".mul_(embed_scale)", ""),
    Mistake.of("divided", ".mul_(embed_scale)", ".div_(embed_scale)"),
    Mistake.of("the table is scaled in place", LOOK_UP, "weight.mul_(embed_scale)[input_ids]"),
    Mistake.of("a number of 16 bits", "mul_(embed_scale)", "mul_(weight.new_tensor(embed_scale))"),
    Mistake.of("in float32", LOOK_UP, f"{LOOK_UP}.float()"),
    Mistake.of("one row too far", "input_ids)", "(input_ids + 1) % VOCAB_SIZE)"),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(scaled: Make, template: Template, mistake: Mistake) -> None:
    assert_rejected(template, scaled(64, 8), mistake, crashes=CRASHES)


def test_wrong_implementations_are_rejected(scaled: Make, template: Template) -> None:
    made = scaled(64, 8)
    assert_wrong_ones_rejected(template, made, plugin.fibcore_implementations(made))
