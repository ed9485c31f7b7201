"""Embedding by SGLang's method of tables that are not quantised."""

import types
from collections.abc import Callable
from typing import Any

import torch


def sglang_embedding(
    load_sglang: Callable[..., Any], input_ids: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens."""
    method = "UnquantizedEmbeddingMethod.embedding"
    embedding = load_sglang("srt/layers/quantization/unquant.py", method)
    output: torch.Tensor = embedding(None, types.SimpleNamespace(weight=weight), input_ids)
    return output
