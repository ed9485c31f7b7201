"""Sampling by torch, a row at a time: tokens in order, those of them that are kept, a draw."""

import torch

TORCH_SAMPLING_DTYPE = "int64"
TORCH_SAMPLING_JOINT = False


def torch_sampling(
    probs: torch.Tensor,
    top_k: torch.Tensor | None = None,
    top_p: torch.Tensor | None = None,
    min_p: torch.Tensor | None = None,
) -> torch.Tensor:
    """What is made of rows [batch_size, vocab_size], each with its own parameters."""
    results = []
    for number, row in enumerate(probs.double()):
        weights, tokens = row.sort(descending=True, stable=True)
        whole = weights.clone()
        if top_k is not None and 0 < int(top_k[number]) < len(row):
            weights[int(top_k[number]) :] = 0.0
        if top_p is not None:
            seen = whole if TORCH_SAMPLING_JOINT else weights
            before = seen.cumsum(0) - seen
            weights[1:][before[1:] >= top_p[number].double() * seen.sum()] = 0.0
        if min_p is not None:
            weights[weights < weights[0] * min_p[number].double()] = 0.0
        if TORCH_SAMPLING_DTYPE.startswith("float"):
            results.append(torch.zeros_like(row).scatter(0, tokens, weights / weights.sum()))
        else:
            results.append(tokens[torch.multinomial(weights, 1)[0]])
    dtype = getattr(torch, TORCH_SAMPLING_DTYPE)
    return torch.stack(results).to(dtype) if results else probs.new_empty(0, dtype=dtype)
