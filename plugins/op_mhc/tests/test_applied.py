"""FlashInfer's function has the definition's reference in its place."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")

import flashinfer
import torch
from flashinfer import trace_apply

import fibcore_op_mhc as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied


def test_streams_behind_a_layer(small: dict[str, Definition]) -> None:
    made = small["mhc_post"]
    streams, size = made.const_axes["hc"], made.const_axes["hidden_size"]
    x, residual = torch.randn(3, size).bfloat16(), torch.randn(3, streams, size).bfloat16()
    post, comb = torch.rand(3, streams, 1), torch.rand(3, streams, streams)
    expected = x.float()[:, None] * post + torch.einsum("tji,tjh->tih", comb, residual.float())
    with applied(trace_apply, plugin, *small.values()) as functions:
        assert list(functions) == [f"mhc_post_hc{streams}_h{size}"]
        found = flashinfer.mhc.mhc_post(x, residual, post, comb)
    torch.testing.assert_close(found, expected.bfloat16(), rtol=1e-2, atol=1e-2)
