"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_mhc.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for definitions of others."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    found: list[Implementation] = []
    if kind == "head":
        return tuple(_of_head(definition))
    if kind in ("post", "post_pre"):
        found += _of_streams(definition)
    if kind != "post":
        found += _of_coefficients(definition)
    if kind in ("pre_norm", "post_pre"):
        found += wrapped(definition, "no weight", norm_weight="torch.ones_like(norm_weight) * 0.5")
        found += rewritten(
            definition, "not normalised", " * torch.rsqrt(mean + NORM_EPS)", " + 0 * mean"
        )
    return tuple(found)


def _of_streams(definition: Definition) -> list[Implementation]:
    return [
        *rewritten(
            definition,
            "sums of products, one by one",
            "torch.baddbmm(own, comb.mT, residual.float())",
            "own + (comb[..., None] * residual.float()[:, :, None]).sum(1)",
            right=True,
        ),
        *wrapped(definition, "the given matrix is transposed", comb_res_mix="comb_res_mix.mT"),
        *wrapped(definition, "the layer's output is left out", x="torch.zeros_like(x)"),
        *wrapped(definition, "the streams are left out", residual="torch.zeros_like(residual)"),
        *wrapped(
            definition,
            "one weight for all streams",
            post_layer_mix="post_layer_mix.mean(1, keepdim=True).expand_as(post_layer_mix)",
        ),
        *wrapped(definition, "streams of the token before", residual="residual.roll(1, 0)"),
    ]


_TF32 = "(fn.view(torch.int32) & -8192).view(torch.float32)"
"""What tensor cores multiply in kernels of float32 weights: TF32 has 10 bits."""


def _of_head(definition: Definition) -> list[Implementation]:
    sums = "torch.rsqrt(root.square() / HC_HIDDEN_SIZE + RMS_EPS)"
    return [
        *wrapped(definition, "projected in TF32", right=True, fn=_TF32),
        *rewritten(
            definition,
            "sums of products, one by one",
            "torch.bmm(pre[:, None], residual.float())[:, 0]",
            "(pre[..., None] * residual.float()).sum(1)",
            right=True,
        ),
        *rewritten(definition, "not divided by the root mean square", f" * {sums}", ""),
        *rewritten(
            definition,
            "the weights before are doubled",
            "torch.sigmoid(mixes * hc_scale + hc_base)",
            "2 * torch.sigmoid(mixes * hc_scale + hc_base)",
        ),
        *rewritten(
            definition,
            "a softmax over streams",
            "torch.sigmoid(mixes * hc_scale + hc_base)",
            "torch.softmax(mixes * hc_scale + hc_base, -1)",
        ),
        *wrapped(definition, "the bias is left out", hc_base="torch.zeros_like(hc_base)"),
        *wrapped(definition, "the scale is left out", hc_scale="torch.ones_like(hc_scale)"),
        *wrapped(definition, "streams of the token before", residual="residual.roll(1, 0)"),
        *wrapped(definition, "streams in another order", residual="residual.flip(1)"),
    ]


def _of_coefficients(definition: Definition) -> list[Implementation]:
    sums = "torch.rsqrt(root.square() / HC_HIDDEN_SIZE + RMS_EPS)"
    return [
        *wrapped(definition, "projected in TF32", right=True, fn=_TF32),
        *rewritten(
            definition,
            "rounded before the weight",
            "return x * torch.rsqrt(mean + NORM_EPS)",
            "return x.bfloat16().float() * torch.rsqrt(mean + NORM_EPS)",
            right=True,
        ),
        *rewritten(definition, "not divided by the root mean square", f" * {sums}", ""),
        *rewritten(definition, "no Sinkhorn", "range(SINKHORN_REPEAT)", "range(0)"),
        *rewritten(
            definition,
            "the matrix is transposed",
            "HC_POST_MULT_VALUE, matrix",
            "HC_POST_MULT_VALUE, matrix.mT",
        ),
        *rewritten(
            definition,
            "weights behind are not doubled",
            " * HC_POST_MULT_VALUE, matrix",
            ", matrix",
        ),
        *wrapped(definition, "the bias is left out", hc_base="torch.zeros_like(hc_base)"),
        *wrapped(definition, "one scale for all", hc_scale="hc_scale[:1].expand(3)"),
    ]
