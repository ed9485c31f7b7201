"""FlashInfer's products have the definitions' references in their place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")

import flashinfer
import torch
from flashinfer import trace_apply

import fibcore_op_gemm as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied

FP8 = torch.float8_e4m3fn


@pytest.mark.parametrize(("name", "matrices"), [("bmm_fp8", 3), ("gemm_fp8_per_tensor", 1)])
def test_products_of_fp8_with_one_scale(
    name: str, matrices: int, definition_of: Callable[..., Definition]
) -> None:
    a, b = torch.randn(matrices, 5, 64).to(FP8), torch.randn(matrices, 64, 32).to(FP8)
    scales = torch.tensor([0.5]), torch.tensor([0.25])
    with applied(trace_apply, plugin, definition_of(name, 32, 64)) as functions:
        assert list(functions) == ["bmm_fp8_N32_K64"]
        found = flashinfer.bmm_fp8(a, b, *scales, torch.bfloat16)
        with pytest.raises(RuntimeError, match="this solution is for float8_e4m3fn"):
            flashinfer.bmm_fp8(a.to(torch.float8_e5m2), b, *scales, torch.bfloat16)
        if matrices == 1:
            with pytest.raises(RuntimeError, match="this solution is for one"):
                flashinfer.bmm_fp8(a.expand(2, 5, 64), b.expand(2, 64, 32), *scales, torch.bfloat16)
    torch.testing.assert_close(found, (a.float() @ b.float() * 0.125).bfloat16())


def test_products_of_routers_write_into_a_tensor(definition_of: Callable[..., Definition]) -> None:
    a, b = torch.randn(2, 7168).bfloat16(), torch.randn(256, 7168).bfloat16()
    out = torch.empty(2, 256)
    with applied(trace_apply, plugin, definition_of("gemm", 256, 7168)) as functions:
        assert "mm_M1_16_K7168_N256_k7168_n256" in functions
        assert flashinfer.gemm.mm_M1_16_K7168_N256(a, b.T, out) is None
    torch.testing.assert_close(out, a.float() @ b.float().T, rtol=1e-4, atol=1e-3)


def test_scales_in_tiles_are_left_out(definition_of: Callable[..., Definition]) -> None:
    with (
        pytest.raises(AssertionError, match="no solution"),
        applied(
            trace_apply,
            plugin,
            definition_of("gemm_nvfp4", 32, 64),
            definition_of("gemm_mxfp8", 32, 64),
        ),
    ):
        pass
