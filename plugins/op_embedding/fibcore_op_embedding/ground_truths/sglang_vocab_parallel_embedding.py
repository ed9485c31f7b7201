"""Embedding in a rank's part of a table, as SGLang's VocabParallelEmbedding has it.

Its functions are called as its forward pass does, without the sum over ranks.
"""

import types
from collections.abc import Callable
from typing import Any

import torch


def sglang_vocab_parallel_embedding(
    load_sglang: Callable[..., Any],
    input_ids: torch.Tensor,
    weight: torch.Tensor,
    vocab_start_index: int,
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens, zeros for those of other ranks."""
    mask = load_sglang("srt/layers/vocab_parallel_embedding.py", "get_masked_input_and_mask")
    method = "UnquantizedEmbeddingMethod.embedding"
    embedding = load_sglang("srt/layers/quantization/unquant.py", method)
    end = vocab_start_index + weight.shape[0]
    # Rows without padding, and none of added words.
    rows, others = mask(input_ids, vocab_start_index, end, 0, 0, 0)
    output: torch.Tensor = embedding(None, types.SimpleNamespace(weight=weight), rows)
    return output.masked_fill_(others.unsqueeze(-1), 0)
