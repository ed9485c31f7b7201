"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_mhc as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import sglang_package
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Small = dict[str, Definition]
KINDS = ["mhc_post", "mhc_pre", "mhc_pre_norm", "mhc_fused_post_pre", "mhc_head"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mhc_post", ["flashinfer", "sglang", "torch"]),
        ("mhc_pre", ["sglang", "torch"]),
        ("mhc_pre_norm", ["torch"]),
        ("mhc_fused_post_pre", ["flashinfer", "torch"]),
        ("mhc_head", ["sglang", "torch"]),
    ],
)
def test_ground_truths_in_order_of_preference(small: Small, kind: str, expected: list[str]) -> None:
    found = plugin.fibcore_ground_truths(small[kind])
    assert [truth.kind for truth in found] == expected
    assert all((t.device == "cuda") is (t.kind == "flashinfer") for t in found)


def test_flashinfer_has_four_streams(unfused_post: Definition) -> None:
    assert [t.kind for t in plugin.fibcore_ground_truths(unfused_post)] == ["sglang", "torch"]


def test_no_ground_truths_for_what_is_not_known(small: Small) -> None:
    for made in small.values():
        others: list[dict[str, Any]] = [
            {"op_type": "of_another_plugin"},
            {"outputs": {**made.outputs, "more": next(iter(made.outputs.values()))}},
        ]
        for other in others:
            assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()
    made = small["mhc_pre"]
    reference = f"def run({', '.join(made.inputs)}):\n    return ()\n"
    unknown = attrs.evolve(made, reference=reference)
    assert plugin.fibcore_ground_truths(unknown) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_torch_agrees(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    truth = plugin.fibcore_ground_truths(made)[-1]
    check(template, made, getattr(load_source(truth.source, "truth"), truth.entry))


@pytest.mark.parametrize("kind", ["mhc_post", "mhc_pre", "mhc_head"])
def test_sglang_agrees(small: Small, template: Template, kind: str) -> None:
    package = sglang_package("0.5.23")
    if package is None:
        pytest.skip("the source of SGLang 0.5.23 is not there")
    (truth,) = (t for t in plugin.fibcore_ground_truths(small[kind]) if t.kind == "sglang")
    entry, source = getattr(load_source(truth.source, "truth"), truth.entry), harness()
    check(template, small[kind], lambda **i: entry(source.SGLangSource(package), **i))


def test_constants_are_those_of_the_reference(small: Small) -> None:
    made = small["mhc_pre"]
    fewer = made.reference.replace("SINKHORN_REPEAT = 20", "SINKHORN_REPEAT = 3")
    for truth in plugin.fibcore_ground_truths(attrs.evolve(made, reference=fewer)):
        assert "SINKHORN_REPEAT = 3\n" in truth.source


def check(template: Template, made: Definition, truth: Any) -> None:
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), truth(**inputs)
        for one, other in zip(as_tuple(actual), as_tuple(expected), strict=True):
            torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-4)


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
