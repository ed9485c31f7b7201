"""Ground truths: which there are, and that the reference agrees with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Definition, tensor
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import VERSIONS, sglang_package
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]

STYLES = ("neox", "gptj")


def kinds(made: Definition) -> list[str]:
    return [truth.kind for truth in plugin.fibcore_ground_truths(made)]


@pytest.mark.parametrize("style", STYLES)
def test_ground_truths_in_order_of_preference(definition: Make, style: str) -> None:
    flashinfer, sglang, complex_numbers = plugin.fibcore_ground_truths(definition(style))
    assert flashinfer.name == "flashinfer.rope.apply_rope_with_cos_sin_cache"
    assert flashinfer.device == "cuda"
    assert flashinfer.packages == ("flashinfer",)
    assert sglang.name == "sglang RotaryEmbedding.forward_native"
    assert complex_numbers.kind == "torch"
    for truth in (flashinfer, sglang, complex_numbers):
        assert f"IS_NEOX = {style == 'neox'}\n" in truth.source


@pytest.mark.parametrize(
    ("size", "there"),
    [
        (("neox", 64, 64), True),
        (("gptj", 64, 64), True),
        (("neox", 128, 32), True),
        (("neox", 256, 64), True),
        (("neox", 512, 512), True),
        (("neox", 80, 80), False),  # no kernel of this head size
        (("neox", 128, 24), False),  # 8 elements of a thread are in both halves
        (("gptj", 128, 24), True),
        (("gptj", 128, 20), False),
        (("neox", 512, 16), False),  # a thread takes 16 elements of a head of 512
        (("gptj", 512, 16), True),
    ],
)
def test_flashinfer_is_taken_for_what_it_computes(
    definition: Make, size: tuple[str, int, int], there: bool
) -> None:
    found = kinds(definition(*size))
    assert ("flashinfer" in found) == there
    assert found[-2:] == ["sglang", "torch"]


def test_flashinfer_takes_16_bit_activations_and_a_float32_table(definition: Make) -> None:
    made = definition()
    for name, dtype in (("q", "float32"), ("k", "float32"), ("cos_sin_cache", "bfloat16")):
        other = attrs.evolve(made.inputs[name], dtype=dtype)
        changed = attrs.evolve(made, inputs={**made.inputs, name: other})
        assert kinds(changed) == ["sglang", "torch"]


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {"q_out": made.outputs["q_out"]}},
        {"outputs": {**made.outputs, "scale": tensor("num_tokens", "float32")}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


def test_flashinfer_gets_its_arguments(
    definition: Make, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the signature of FlashInfer's function, which takes heads side by side."""
    import sys
    import types

    made = definition("gptj", 64, 64)
    inputs = template.inputs(made, template.cases(made)[1])
    seen: dict[str, Any] = {}

    def apply_rope_with_cos_sin_cache(
        positions: Any, query: Any, key: Any, head_size: int, cos_sin_cache: Any, is_neox: bool
    ) -> tuple[Any, Any]:
        seen.update(query=query, key=key, head_size=head_size, is_neox=is_neox)
        assert torch.equal(positions, inputs["positions"])
        assert cos_sin_cache.dtype == torch.float32
        return query.clone(), key.clone()

    fake = types.ModuleType("flashinfer.rope")
    fake.apply_rope_with_cos_sin_cache = apply_rope_with_cos_sin_cache  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", types.ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.rope", fake)
    truth = plugin.fibcore_ground_truths(made)[0]
    q, k = getattr(load_source(truth.source, "ground_truth"), truth.entry)(**inputs)
    assert torch.equal(q, inputs["q"])
    assert torch.equal(k, inputs["k"])
    assert seen["query"].shape == (7, 8 * 64)
    assert seen["key"].shape == (7, 2 * 64)
    assert seen["head_size"] == 64
    assert seen["is_neox"] is False


def agrees(made: Definition, template: Template, entry: Callable[..., Any], *first: Any) -> None:
    run = load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        for actual, expected in zip(run(*inputs.values()), entry(*first, **inputs), strict=True):
            torch.testing.assert_close(actual.float(), expected.float(), rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("head_size", "rotary_dim"), [(64, 64), (80, 20)])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_agrees_with_sglang(
    definition: Make,
    template: Template,
    style: str,
    head_size: int,
    rotary_dim: int,
    version: str,
) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    made = definition(style, head_size, rotary_dim)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == "sglang")
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    agrees(made, template, entry, harness().SGLangSource(package))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("head_size", "rotary_dim"), [(64, 64), (80, 20)])
def test_the_reference_agrees_with_complex_numbers(
    definition: Make, template: Template, style: str, head_size: int, rotary_dim: int
) -> None:
    made = definition(style, head_size, rotary_dim)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == "torch")
    agrees(made, template, getattr(load_source(truth.source, "ground_truth"), truth.entry))
