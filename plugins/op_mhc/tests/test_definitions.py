"""Definitions of hyper-connections."""

from __future__ import annotations

import attrs
import pytest

import fibcore_op_mhc as plugin
from fibcore.plugin import Definition, const

Small = dict[str, Definition]
PRE = {
    "fn": ("mhc_mix", "hc_hidden_size"),
    "hc_scale": ("scale_size",),
    "hc_base": ("mhc_mix",),
}
STREAMS, MATRIX = ("num_tokens", "hc", "hidden_size"), ("num_tokens", "hc", "hc")
ROWS, WEIGHTS = ("num_tokens", "hidden_size"), ("num_tokens", "hc")
POST = {"x": ROWS, "residual": STREAMS, "post_layer_mix": WEIGHTS, "comb_res_mix": MATRIX}
NORM = {"norm_weight": ("hidden_size",)}
GIVEN = {"post_mix": WEIGHTS, "comb_mix": MATRIX, "layer_input": ROWS}


@pytest.mark.parametrize(
    ("name", "op_type", "inputs", "outputs"),
    [
        ("mhc_post", "mhc_post", POST, {"out": STREAMS}),
        ("mhc_pre", "mhc_pre", {"residual": STREAMS, **PRE}, GIVEN),
        ("mhc_pre_norm", "mhc_pre", {"residual": STREAMS, **PRE, **NORM}, GIVEN),
        (
            "mhc_fused_post_pre",
            "mhc_fused_post_pre",
            {**POST, **PRE, **NORM},
            {"residual_cur": STREAMS, **GIVEN},
        ),
        (
            "mhc_head",
            "mhc_head",
            {
                "residual": STREAMS,
                "fn": ("hc", "hc_hidden_size"),
                "hc_scale": ("scale_size",),
                "hc_base": ("hc",),
            },
            {"out": ROWS},
        ),
    ],
)
def test_the_format(
    small: Small,
    name: str,
    op_type: str,
    inputs: dict[str, tuple[str, ...]],
    outputs: dict[str, tuple[str, ...]],
) -> None:
    made = small[name]
    assert made.op_type == op_type
    assert {n: spec.shape for n, spec in made.inputs.items()} == inputs
    assert {n: spec.shape for n, spec in made.outputs.items()} == outputs
    halves = {"x", "residual", "norm_weight", "out", "residual_cur", "layer_input"}
    for n, spec in {**made.inputs, **made.outputs}.items():
        assert spec.dtype == ("bfloat16" if n in halves else "float32"), n
        assert spec.description
    assert made.axes["num_tokens"].value is None


def test_a_reference_has_what_its_kind_needs(small: Small) -> None:
    assert "NORM_EPS" not in small["mhc_pre"].reference
    assert "NORM_EPS = 1e-06" in small["mhc_pre_norm"].reference
    assert "def spread" in small["mhc_fused_post_pre"].reference
    assert "SINKHORN_REPEAT" not in small["mhc_post"].reference
    assert "HC_PRE_EPS = 2e-06" in small["mhc_head"].reference
    assert small["mhc_head"].const_axes["scale_size"] == 1
    assert small["mhc_pre"].const_axes == {
        "hc": 3,
        "hidden_size": 40,
        "mhc_mix": 15,
        "hc_hidden_size": 120,
        "scale_size": 3,
    }


def test_sizes_that_do_not_go_together_are_said(small: Small) -> None:
    made = small["mhc_pre"]
    assert plugin.fibcore_identify(made).contradictions == ()
    axes = {**made.axes, "mhc_mix": const(16), "hc_hidden_size": const(121)}
    other = attrs.evolve(made, name="mhc_pre_hc4_h40", axes=axes)
    assert plugin.fibcore_identify(other).contradictions == (
        "the name says hc4, and hc is 3",
        "mhc_mix is 16, and hc * (hc + 2) is 15",
        "hc_hidden_size is 121, and hc * hidden_size is 120",
    )


def test_op_types() -> None:
    types = [t.name for t in plugin.fibcore_op_types()]
    assert types == ["mhc_post", "mhc_pre", "mhc_fused_post_pre", "mhc_head"]
