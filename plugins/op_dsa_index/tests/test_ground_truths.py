"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_dsa_index as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source
from fibcore_op_dsa_index.names import KINDS

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


def test_torch_runs_everywhere(small: Small) -> None:
    for kind, made in small.items():
        (truth,) = plugin.fibcore_ground_truths(made)
        assert (truth.name, truth.device) == ("torch in float64", "any")
        assert ("EPS = 1e-06" in truth.source) is (kind == "k_store")


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
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def parts(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_caches_that_differ_are_seen(small: Small, template: Template) -> None:
    made = small["k_store"]
    case = template.cases(made)[1]
    inputs = template.inputs(made, case)
    right = load_run(made.reference)(*inputs.values())
    (name,) = made.outputs

    def compare(wrong: Any) -> None:
        template.module.compare(made.to_dict(), case, name, right, wrong, close, inputs)

    compare(right.clone())
    used = set(inputs["out_loc"].tolist())
    free = next(place for place in range(right.shape[0] * right.shape[1]) if place not in used)
    for place in (int(inputs["out_loc"][0]), free):
        wrong = right.clone()
        page, at = divmod(place, right.shape[1])
        wrong.view(right.shape[0], -1)[page, at * (right.shape[-1] - 4)] ^= 0x40
        with pytest.raises(AssertionError):
            compare(wrong)


def test_rounding_to_bfloat16_before_is_no_difference(small: Small, template: Template) -> None:
    """What SGLang's kernel rounds changes bytes, and not what they are taken to stand for."""
    made = small["k_store"]
    (name,) = made.outputs
    sources = {one.name: one.source for one in plugin.fibcore_implementations(made)}
    rounded, smaller = sources["rounded to bfloat16 before"], sources["numbers are 3 % too small"]
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        right, same, wrong = (
            load_run(source)(*inputs.values()) for source in (made.reference, rounded, smaller)
        )
        figures = [
            template.module.figures(made.to_dict(), name, stored, inputs)
            for stored in (right, same, wrong)
        ]
        assert not torch.equal(right, same) or case["tokens"] < 5
        assert torch.equal(figures[0], figures[1])
        assert float((figures[2] != figures[0]).double().mean()) > 0.2
        template.module.compare(made.to_dict(), case, name, right, same, close, inputs)
