"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_dsv4 as plugin
from fibcore.plugin import Definition, const
from fibcore.testing.templates import Template, load_run, load_source
from fibcore_op_dsv4.names import KINDS

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


def test_flashmla_has_512_elements(small: Small) -> None:
    made = small["compressed"]
    assert [t.name for t in plugin.fibcore_ground_truths(made)] == ["torch in float64"]
    whole = attrs.evolve(made, axes={**made.axes, "head_dim": const(512)})
    first, last = plugin.fibcore_ground_truths(whole)
    assert (first.name, first.device) == ("flash_mla.flash_mla_with_kvcache", "cuda")
    assert first.packages == ("flash_mla",)
    assert last.kind == "torch"


def test_no_ground_truths_for_what_is_not_known(small: Small) -> None:
    for made in small.values():
        others: list[dict[str, Any]] = [
            {"op_type": "of_another_plugin"},
            {"outputs": {**made.outputs, "more": next(iter(made.outputs.values()))}},
        ]
        for other in others:
            assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()
    made = small["k_store"]
    unknown = attrs.evolve(made, reference=made.reference.replace("EPS = 1e-06", ""))
    assert plugin.fibcore_ground_truths(unknown) == ()


@pytest.mark.parametrize("kind", list(KINDS))
def test_torch_agrees(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry = getattr(load_source(truth.source, "truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), entry(**inputs)
        for name, one, other in zip(made.outputs, parts(actual), parts(expected), strict=True):
            template.module.compare(made.to_dict(), case, name, one, other, close, inputs)


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-4)


def parts(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("kind", ["k_store", "index_k_store"])
def test_caches_that_differ_are_seen(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    case = template.cases(made)[1]
    inputs = template.inputs(made, case)
    right = load_run(made.reference)(*inputs.values())
    (name,) = made.outputs

    def compare(wrong: Any) -> None:
        template.module.compare(made.to_dict(), case, name, right, wrong, close, inputs)

    compare(right.clone())
    place = int(inputs["out_loc"][0])
    for page, at in (divmod(place, right.shape[1]), (right.shape[0] - 1, 0)):
        wrong = right.clone()
        wrong.view(right.shape[0], -1)[page, at * (right.shape[-1] - 8)] ^= 0x40
        if not torch.equal(wrong, right):
            with pytest.raises(AssertionError):
                compare(wrong)
