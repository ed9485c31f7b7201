"""The definition that gives every token's cosines and sines, from the matcher to its cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Cost, Definition, Serving
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import VERSIONS, sglang_package
from fibcore.testing.templates import CRASHES, Template, load_run, load_source
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
GEMMA = "sglang.srt.models.gemma3_causal."
TURN = "sglang.srt.layers.rotary_embedding.utils.apply_rotary_pos_emb_native"


@pytest.mark.parametrize("sizes", [(), (64,), (64, 128)])
def test_heads_that_are_turned_say_how_many_angles_there_are(sizes: tuple[int, ...]) -> None:
    layers = [
        module(f"l{n}", GEMMA + "Gemma3Attention", attributes={"head_dim": size})
        for n, size in enumerate(sizes)
    ]
    calls = [operation(TURN, *(TENSOR,) * 4, module=layer.path) for layer in layers]
    rotary = module("rotary", GEMMA + "Gemma3RotaryEmbedding", calls=[call(TENSOR, TENSOR)])
    found = plugin.fibcore_extract(tree(*layers, rotary, kernel_calls=calls), Serving())
    names = [kernel.name for kernel in found.kernels]
    if len(sizes) == 1:
        assert names[1:] == ["rotary_cos_sin_d64"]
        assert not found.not_covered
    else:
        assert len(names) == len(sizes)
        assert [op.what for op in found.not_covered] == ["Gemma3RotaryEmbedding"]


def test_the_format(angles: Make) -> None:
    made = angles(64)
    assert made.name == "rotary_cos_sin_d64"
    assert made.const_axes == {"head_size": 64, "num_pairs": 32}
    assert [(n, t.shape, t.dtype) for n, t in made.inputs.items()] == [
        ("positions", ("num_tokens",), "int64"),
        ("inv_freq", ("num_pairs",), "float32"),
        ("attention_scaling", None, "float32"),
    ]
    assert [(n, t.shape, t.dtype) for n, t in made.outputs.items()] == [
        ("cos", ("num_tokens", "head_size"), "bfloat16"),
        ("sin", ("num_tokens", "head_size"), "bfloat16"),
    ]
    data = made.to_dict()
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    renamed = attrs.evolve(made, name="rotary_cos_sin_d32")
    assert plugin.fibcore_identify(renamed).contradictions


@pytest.mark.parametrize("head_size", [2, 64])
def test_the_reference_has_the_property(angles: Make, template: Template, head_size: int) -> None:
    assert_accepted(template, angles(head_size))
    with pytest.raises(AssertionError):
        load_run(angles(64).reference)(torch.zeros(2, dtype=torch.int64), torch.zeros(31), 1.0)


def agrees(made: Definition, template: Template, kind: str, *first: Any) -> None:
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        for actual, expected in zip(run(*inputs.values()), entry(*first, **inputs), strict=True):
            torch.testing.assert_close(actual, expected, rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_agrees_with_sglang(angles: Make, template: Template, version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    agrees(angles(64), template, "sglang", harness().SGLangSource(package))


def test_the_reference_agrees_with_torch(angles: Make, template: Template) -> None:
    agrees(angles(64), template, "torch")


def test_cost_and_workloads(angles: Make) -> None:
    made = angles(64)
    found = plugin.fibcore_cost(made, {"num_tokens": 7}, {})
    assert found == Cost(5 * 7 * 32, "float32", 7 * 8 + 32 * 4, 2 * 7 * 64 * 2)
    cases = plugin.fibcore_workloads(made, {}, 0)
    assert [case.axes["num_tokens"] for case in cases] == [2**i for i in range(14)]
    tensors = cases[3].tensors()
    assert tensors["positions"].shape == (8,)
    assert (tensors["inv_freq"][0], tensors["inv_freq"].dtype.name) == (1.0, "float32")


MISTAKES = [
    Mistake.of("sines for cosines", "angles.cos()", "angles.sin()"),
    Mistake.of("not scaled", "angles.cos().mul_(attention_scaling)", "angles.cos()"),
    Mistake.of("sines are not scaled", "angles.sin_().mul_(attention_scaling)", "angles.sin()"),
    Mistake.of("angles of 16 bits", "* inv_freq)", "* inv_freq.to(torch.bfloat16))"),
    Mistake.of("angles in turns", ".repeat(1, 2)", ".repeat_interleave(2, 1)"),
    Mistake.of("positions count from 1", "positions[:, None]", "(positions[:, None] + 1)"),
    Mistake.of("in float32", "cos.to(torch.bfloat16)", "cos"),
    Mistake.of("as degrees", "* inv_freq)", "* inv_freq * 0.017453)"),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(angles: Make, template: Template, mistake: Mistake) -> None:
    assert_rejected(template, angles(16), mistake, crashes=CRASHES)


def test_wrong_implementations_are_rejected(angles: Make, template: Template) -> None:
    made = angles(16)
    assert_wrong_ones_rejected(template, made, plugin.fibcore_implementations(made))
