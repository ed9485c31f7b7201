"""Definitions that are given every token's cosines and sines, from the matcher to their costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Cost, Definition, Extraction, Serving, Unknown
from fibcore.testing.harness import harness
from fibcore.testing.mutations import with_constants
from fibcore.testing.real_trees import VERSIONS, sglang_package
from fibcore.testing.templates import Template, load_run, load_source
from fibcore.testing.trees import TENSOR, module, operation, tree
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
LAYERS = "sglang.srt.layers.rotary_embedding."
AXES = {"num_tokens": 7, "num_qo_heads": 8, "num_kv_heads": 2}


def extract(cls: str, attributes: dict[str, Any], *more: Any) -> Extraction:
    layer = module(
        "l.attn", f"sglang.srt.models.m.{cls}", attributes=attributes, children=more, leaf=False
    )
    name = f"{LAYERS}utils.apply_rotary_pos_emb_native"
    turning = operation(name, *(TENSOR,) * 4, module="l.attn")
    return plugin.fibcore_extract(tree(layer, kernel_calls=[turning]), Serving())


@pytest.mark.parametrize(
    ("cls", "kept"), [("Gemma3Attention", "head_dim"), ("VisionAttention", "head_size")]
)
def test_layers_that_call_the_function(cls: str, kept: str) -> None:
    found = extract(cls, {kept: 80})
    (kernel,) = found.kernels
    assert kernel.name == "rope_with_cos_sin_neox_style_d80"
    assert [use.path for use in kernel.uses] == ["l.attn"]
    assert kernel.facts["head_size"].value == 80
    assert not found.not_covered


def test_a_module_beside_the_function_stands_for_it() -> None:
    rotary = module(
        "l.attn.rotary_emb",
        f"{LAYERS}base.RotaryEmbedding",
        {"head_size": 80, "rotary_dim": 80, "is_neox_style": True},
    )
    found = extract("Gemma3Attention", {"head_dim": 80}, rotary)
    (kernel,) = found.kernels
    assert [use.path for use in kernel.uses] == ["l.attn.rotary_emb"]
    assert not found.not_covered
    assert "l.attn.rotary_emb" in found.claimed


@pytest.mark.parametrize("size", [None, Unknown("a size"), 81])
def test_sizes_that_are_not_known_are_problems(size: Any) -> None:
    found = extract("Gemma3Attention", {"head_dim": size})
    assert not found.kernels
    assert [problem.what for problem in found.problems] == ["apply_rotary_pos_emb_native kernel"]


def test_other_classes_may_turn_a_part_of_a_head() -> None:
    found = extract("GlmImageAttention", {"head_dim": 80})
    assert not found.kernels
    assert [op.what for op in found.not_covered] == ["apply_rotary_pos_emb_native of another class"]


def test_the_format(rows: Make) -> None:
    made = rows(64)
    assert made.const_axes == {"head_size": 64}
    assert made.var_axes == ("num_tokens", "num_qo_heads", "num_kv_heads")
    assert [(n, t.shape, t.dtype) for n, t in made.inputs.items()] == [
        ("q", ("num_tokens", "num_qo_heads", "head_size"), "bfloat16"),
        ("k", ("num_tokens", "num_kv_heads", "head_size"), "bfloat16"),
        ("cos", ("num_tokens", "head_size"), "float32"),
        ("sin", ("num_tokens", "head_size"), "float32"),
    ]
    assert tuple(made.outputs) == ("q_out", "k_out")
    assert "HEAD_SIZE = 64\n" in made.reference
    data = made.to_dict()
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    assert plugin.fibcore_identify(made).variant == "neox"
    renamed = attrs.evolve(made, name="rope_with_cos_sin_neox_style_d32")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says d32, and head_size is 64",
    )


@pytest.mark.parametrize("head_size", [2, 64, 80])
def test_the_reference_has_the_properties(rows: Make, template: Template, head_size: int) -> None:
    assert_accepted(template, rows(head_size))


def test_chunks_leave_no_seam_and_sizes_are_checked(rows: Make, template: Template) -> None:
    made = rows(16)
    inputs = list(template.inputs(made, template.cases(made)[1]).values())
    whole = load_run(made.reference)(*inputs)
    parts = load_run(with_constants(made, CHUNK_ELEMENTS=1).reference)(*inputs)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))
    for number in range(4):
        wrong = [x[..., :8] if i == number else x for i, x in enumerate(inputs)]
        with pytest.raises(AssertionError):
            load_run(made.reference)(*wrong)


def agrees(made: Definition, template: Template, kind: str, *first: Any) -> None:
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        for actual, expected in zip(run(*inputs.values()), entry(*first, **inputs), strict=True):
            torch.testing.assert_close(actual.float(), expected.float(), rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_agrees_with_sglang(rows: Make, template: Template, version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    agrees(rows(80), template, "sglang", harness().SGLangSource(package))


def test_the_reference_agrees_with_torch(rows: Make, template: Template) -> None:
    agrees(rows(80), template, "torch")


def test_cost_and_workloads(rows: Make) -> None:
    made = rows(64)
    heads, given = 7 * 10 * 64 * 2, 2 * 7 * 64 * 4
    found = plugin.fibcore_cost(made, AXES, {})
    assert found == Cost(3 * 7 * 10 * 64, "float32", heads + given, heads)
    cases = plugin.fibcore_workloads(made, {}, 0)
    assert [tuple(case.axes) for case in cases] == [tuple(AXES)] * len(cases)
    assert {case.axes["num_tokens"] for case in cases} == {2**i for i in range(14)}


A = "torch.addcmul(a * c[..., first], b, s[..., first], value=-1, out=out[..., first])"
B = "torch.addcmul(b * c[..., second], a, s[..., second], out=out[..., second])"
MISTAKES = [
    Mistake.of("both are sums", "value=-1", "value=1"),
    Mistake.of("the sine is left out", A, "out[..., first] = a * c[..., first]"),
    Mistake.of("the second has the first's cosine", "b * c[..., second]", "b * c[..., first]"),
    Mistake.of("the second has the first's sine", "s[..., second]", "s[..., first]"),
    Mistake.of("elements of a pair change places", "a, b = x", "b, a = x"),
    Mistake.of("the first chunk's", "cos[tokens, None]", "cos[: len(q[tokens]), None]"),
    Mistake.of("in the dtype of q", "cos[tokens, None]", "cos[tokens, None].to(q.dtype)"),
    Mistake.of(
        "keys are not turned", "(k[tokens], k_out[tokens])", "(k[tokens], k[tokens].clone())"
    ),
    Mistake.of("written over q", "torch.empty_like(q)", "q"),
    Mistake.of("the second is not turned", B, "out[..., second] = b"),
    Mistake.of("the last token is left out", "range(0, num_tokens,", "range(0, num_tokens - 1,"),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(rows: Make, template: Template, mistake: Mistake) -> None:
    assert_rejected(template, with_constants(rows(16), CHUNK_ELEMENTS=720), mistake)


def test_wrong_implementations_are_rejected(rows: Make, template: Template) -> None:
    made = rows(16)
    assert_wrong_ones_rejected(template, made, plugin.fibcore_implementations(made))
