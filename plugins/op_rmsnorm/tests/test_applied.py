"""FlashInfer's norms have the definitions' references in their place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")

import flashinfer
import torch
from flashinfer import trace_apply

import fibcore_op_rmsnorm as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied

STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")


def test_gemma_s_adds_one_and_epsilon_is_the_reference_s(
    definition: Callable[..., Definition],
) -> None:
    x, weight = torch.randn(3, 64).bfloat16(), torch.randn(64).bfloat16()
    mean = x.float().pow(2).mean(-1, keepdim=True)
    expected = x.float() * torch.rsqrt(mean + 1e-5) * (1 + weight.float())
    with applied(trace_apply, plugin, *(definition(stem, 64) for stem in STEMS)) as functions:
        # The template of the last does not say what it writes into.
        assert list(functions) == [f"{stem}_h64" for stem in STEMS[:3]]
        found = flashinfer.norm.gemma_rmsnorm(x, weight, 1e-5)
        for function in (flashinfer.norm.gemma_rmsnorm, flashinfer.norm.rmsnorm):
            with pytest.raises(RuntimeError, match="called with eps"):
                function(x, weight, 1e-6)
        with pytest.raises(RuntimeError, match="called with eps"):
            flashinfer.norm.fused_add_rmsnorm(x, x.clone(), weight, 1e-6)
    torch.testing.assert_close(found, expected.bfloat16())
