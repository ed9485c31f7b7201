"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_mhc import fibcore_implementations

pytest.importorskip("torch")

Small = dict[str, Definition]

STREAMS = [
    Mistake.of("the matrix is transposed", "comb.mT", "comb"),
    Mistake.of("the layer's output is left out", "baddbmm(own,", "baddbmm(own * 0,"),
    Mistake.of("the weight behind is left out", "post[..., None] * x", "0 * post[..., None] + x"),
    Mistake.of(
        "the first weight for all", "post[..., None]", "post[:, :1, None].expand(-1, HC, 1)"
    ),
    Mistake.of("products in bfloat16", "x.float()[:, None]", "(x * 3).float()[:, None] / 3"),
]
COEFFICIENTS = [
    Mistake.of("not divided by the root mean square", "/ HC_HIDDEN_SIZE + RMS_EPS", "* 0 + 1"),
    Mistake.of("the sum of squares for their mean", "/ HC_HIDDEN_SIZE", ""),
    Mistake.of("the mean of one stream", "/ HC_HIDDEN_SIZE", "/ HIDDEN_SIZE"),
    Mistake.of("no epsilon below the root", "+ RMS_EPS", "+ 1e-12"),
    Mistake.of("one scale for all", "scale[1]", "scale[0]"),
    Mistake.of("no bias", "+ base[:HC]", "+ 0 * base[:HC]"),
    Mistake.of("the bias is scaled", "+ base[2 * HC :]", "+ base[2 * HC :] * scale[2]"),
    Mistake.of("the softmax over the other index", "HC, HC), -1)", "HC, HC), -2)"),
    Mistake.of("one round fewer", "range(SINKHORN_REPEAT)", "range(1)"),
    Mistake.of(
        "rows are scaled alone", "matrix.sum(-2, keepdim=True)", "matrix.sum(-1, keepdim=True)"
    ),
    Mistake.of("no softmax", "torch.softmax(", "(lambda m, _: m.exp())("),
    Mistake.of("the weights behind are not doubled", " * HC_POST_MULT_VALUE", ""),
    Mistake.of("the weights before are doubled", "torch.sigmoid(pre)", "2 * torch.sigmoid(pre)"),
    Mistake.of("tanh for sigmoid", "torch.sigmoid(post)", "torch.tanh(post)"),
    Mistake.of(
        "the matrix is transposed", "HC_POST_MULT_VALUE, matrix", "HC_POST_MULT_VALUE, matrix.mT"
    ),
    Mistake.of(
        "all streams count alike", "pre[:, None], residual", "pre[:, None] * 0 + 0.5, residual"
    ),
    Mistake.of(
        "projected with bfloat16 weights",
        "flat.float() @ fn.T",
        "flat.float() @ fn.bfloat16().float().T",
    ),
]
NORM = [
    Mistake.of("not normalised", " * torch.rsqrt(mean + NORM_EPS)", " + 0 * mean"),
    Mistake.of("no weight", " * weight.float()", " + 0 * weight.float()"),
    Mistake.of("1 + weight", "weight.float()", "(1 + weight.float())"),
    Mistake.of("no epsilon", "mean + NORM_EPS", "mean + 1e-20"),
    Mistake.of("the sum for the mean", ".mean(-1, keepdim=True)", ".sum(-1, keepdim=True)"),
]
BOUNDARY = [
    Mistake.of(
        "coefficients of the streams before", "coefficients(streams,", "coefficients(residual,"
    ),
    Mistake.of("the streams before are given", "gathered(streams,", "gathered(residual,"),
]
HEAD = [
    *COEFFICIENTS[:4],
    Mistake.of("no bias", " + hc_base", " + 0 * hc_base"),
    Mistake.of("no scale", "mixes * hc_scale", "mixes"),
    Mistake.of("a softmax over streams", "torch.sigmoid(mixes", "(lambda m: m.softmax(-1))(mixes"),
    Mistake.of("tanh for sigmoid", "torch.sigmoid(mixes", "torch.tanh(mixes"),
    Mistake.of(
        "all streams count alike", "gathered(residual, pre)", "gathered(residual, 0 * pre + 0.5)"
    ),
    *COEFFICIENTS[-1:],
]
BY_KIND = {
    "mhc_post": STREAMS,
    "mhc_pre": COEFFICIENTS,
    "mhc_pre_norm": [*COEFFICIENTS, *NORM],
    "mhc_fused_post_pre": [*STREAMS, *COEFFICIENTS, *NORM, *BOUNDARY],
    "mhc_head": HEAD,
}


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    small: Small, template: Template, kind: str, mistake: Mistake
) -> None:
    assert_rejected(template, small[kind], mistake, crashes=CRASHES)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_wrong_implementations_are_rejected(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
