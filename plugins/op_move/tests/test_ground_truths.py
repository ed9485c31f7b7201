"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import fibcore_op_move as plugin
from fibcore.plugin import Definition, const
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_ground_truths_in_order_of_preference(definition: Make) -> None:
    flashinfer, of_torch = plugin.fibcore_ground_truths(definition())
    assert (flashinfer.name, flashinfer.device) == (
        "flashinfer.page.append_paged_kv_cache",
        "cuda",
    )
    assert (of_torch.name, of_torch.kind) == ("torch.Tensor.index_put_", "torch")
    assert of_torch.solution


def test_flashinfer_has_one_latent_size(definition: Make) -> None:
    made = definition("mla")
    assert [t.kind for t in plugin.fibcore_ground_truths(made)] == ["torch"]
    sizes = {"head_dim_ckv": const(512), "head_dim_kpe": const(64)}
    large = attrs.evolve(made, axes={**made.axes, **sizes})
    assert [t.kind for t in plugin.fibcore_ground_truths(large)] == ["flashinfer", "torch"]


def test_flashinfer_rounds_nothing(definition: Make) -> None:
    for layout in ("kv_fp8", "mla_fp8"):
        assert [t.kind for t in plugin.fibcore_ground_truths(definition(layout))] == ["torch"]


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {**made.outputs, "scale": made.outputs["updated_k_cache"]}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize("page_size", [1, 4])
@pytest.mark.parametrize(
    "layout", ["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
)
def test_the_references_agree_with_torch(
    definition: Make, template: Template, layout: str, page_size: int
) -> None:
    made = definition(layout, page_size)
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        compare(template, made, inputs, run(*inputs.values()), entry(**inputs))


def compare(
    template: Template, made: Definition, inputs: dict[str, Any], found: Any, expected: Any
) -> None:
    """As a generated test does; caches of numbers have the same bits."""
    pairs = zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True)
    for name, (one, other) in zip(made.outputs, pairs, strict=True):
        template.module.compare(made.to_dict(), {}, name, one, other, equal, inputs)


def equal(one: Any, other: Any) -> None:
    assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def test_truths_of_bytes(definition: Make) -> None:
    truths = plugin.fibcore_ground_truths(definition("mla_block_scale"))
    assert [(t.kind, t.device) for t in truths] == [
        ("sglang", "cuda"),
        ("sglang", "any"),
        ("torch", "any"),
    ]


def test_the_reference_agrees_with_sglangs_function(definition: Make, template: Template) -> None:
    cache = os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests"
    package = Path(cache) / "sglang-0.5.9" / "sglang"
    if not package.is_dir():
        pytest.skip(f"the source of SGLang 0.5.9 is not in {cache}")
    made = definition("mla_block_scale")
    truth, run = plugin.fibcore_ground_truths(made)[1], load_run(made.reference)
    entry = getattr(load_source(truth.source, "truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        expected = entry(harness().SGLangSource(package), **inputs)
        compare(template, made, inputs, run(*inputs.values()), expected)
        changed = expected.clone()
        changed[0] += 1  # a page that no sequence has
        with pytest.raises(AssertionError, match="another place"):
            compare(template, made, inputs, changed, expected)
