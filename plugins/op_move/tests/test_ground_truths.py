"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_move as plugin
from fibcore.plugin import Definition, const
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
@pytest.mark.parametrize("layout", ["kv", "mla", "kv_fp8", "mla_fp8"])
def test_the_references_agree_with_torch(
    definition: Make, template: Template, layout: str, page_size: int
) -> None:
    made = definition(layout, page_size)
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry, run = getattr(load_source(truth.source, "truth"), truth.entry), load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        for one, other in zip(run(*inputs.values()), entry(**inputs), strict=True):
            assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))
