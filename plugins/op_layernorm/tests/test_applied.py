"""FlashInfer's LayerNorm has the definition's reference in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")

import flashinfer
import torch
from flashinfer import trace_apply

import fibcore_op_layernorm as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied


def test_it_is_called_with_its_epsilon_alone(definition: Callable[..., Definition]) -> None:
    x, weight, bias = torch.randn(3, 64).bfloat16(), torch.randn(64), torch.randn(64)
    expected = torch.nn.functional.layer_norm(x.float(), (64,), weight, bias, 1e-5)
    with applied(trace_apply, plugin, definition(hidden_size=64)) as functions:
        assert list(functions) == ["layernorm_h64"]
        found = flashinfer.norm.layernorm(x, weight, bias, 1e-5)
        with pytest.raises(RuntimeError, match="called with eps"):
            flashinfer.norm.layernorm(x, weight, bias, 1e-6)
    torch.testing.assert_close(found, expected.bfloat16())
