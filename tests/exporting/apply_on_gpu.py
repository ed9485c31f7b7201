"""Two layers of a small Llama on a GPU, by FlashInfer's kernels and by what trace_apply puts there.

Run by an interpreter that has FlashInfer 0.7, torch and a GPU: `python apply_on_gpu.py DIR`.
A prefill and a decode step are computed twice; the logits have to be the same but for rounding.
Prints what was hit.
"""

import json
import sys

import flashinfer
import torch
from flashinfer import trace_apply

HEADS, KV_HEADS, DIM, HIDDEN, INTER, VOCAB, LAYERS, EPS = 8, 2, 64, 512, 1024, 1024, 2, 1e-5
PAGES = (1, 64)
LENGTHS = (70, 5, 129)
bf16, device = torch.bfloat16, "cuda"


def made(*shape, scale=1.0):
    return (torch.randn(*shape, device=device) * scale).to(bf16)


def weights():
    torch.manual_seed(0)
    rows = (HEADS + 2 * KV_HEADS) * DIM
    layers = [
        {
            "qkv": made(rows, HIDDEN, scale=HIDDEN**-0.5),
            "o": made(HIDDEN, HEADS * DIM, scale=(HEADS * DIM) ** -0.5),
            "up": made(2 * INTER, HIDDEN, scale=HIDDEN**-0.5),
            "down": made(HIDDEN, INTER, scale=INTER**-0.5),
            "norms": [1 + made(HIDDEN, scale=0.1) for _ in range(2)],
        }
        for _ in range(LAYERS)
    ]
    ends = {"embedding": made(VOCAB, HIDDEN), "head": made(VOCAB, HIDDEN, scale=HIDDEN**-0.5)}
    return layers, {**ends, "norm": 1 + made(HIDDEN, scale=0.1)}


def step(layers, ends, table, caches, page_size, positions, slots, tokens, attend):
    """The logits of a step, whose keys and values come into the caches."""
    x, residual = ends["embedding"][tokens], None
    for layer, cache in zip(layers, caches, strict=True):
        if residual is None:
            residual, x = x.clone(), flashinfer.norm.rmsnorm(x, layer["norms"][0], EPS)
        else:
            flashinfer.norm.fused_add_rmsnorm(x, residual, layer["norms"][0], EPS)
        q, k, v = (x @ layer["qkv"].T).split([HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM], -1)
        q, k = flashinfer.rope.apply_rope_with_cos_sin_cache(
            positions, q.contiguous(), k.contiguous(), DIM, table
        )
        for held, new in zip(cache, (k, v), strict=True):
            held[slots // page_size, slots % page_size] = new.view(-1, KV_HEADS, DIM)
        x = attend.run(q.view(-1, HEADS, DIM), cache).flatten(1) @ layer["o"].T
        flashinfer.norm.fused_add_rmsnorm(x, residual, layer["norms"][1], EPS)
        x = flashinfer.activation.silu_and_mul(x @ layer["up"].T) @ layer["down"].T
    flashinfer.norm.fused_add_rmsnorm(x, residual, ends["norm"], EPS)
    return x @ ends["head"].T


def model(layers, ends, page_size):
    """Logits of a prefill of LENGTHS and of the decode step after it."""
    angles = torch.outer(
        torch.arange(256, device=device).float(),
        10000.0 ** -(torch.arange(0, DIM, 2, device=device) / DIM),
    )
    table = torch.cat((angles.cos(), angles.sin()), -1)
    longest = [n + 1 for n in LENGTHS]
    pages = [-(-n // page_size) for n in longest]
    torch.manual_seed(1)
    order = torch.randperm(sum(pages), device=device).int()
    tokens = torch.randint(VOCAB, (sum(longest),), device=device)
    empty = torch.zeros(sum(pages), page_size, KV_HEADS, DIM, dtype=bf16, device=device)
    caches = [(empty.clone(), empty.clone()) for _ in layers]
    begins = [0, *torch.tensor(pages).cumsum(0).tolist()]

    def plan(lengths):
        used = [-(-n // page_size) for n in lengths]
        indptr = torch.tensor([0, *torch.tensor(used).cumsum(0).tolist()], dtype=torch.int32)
        indices = torch.cat([order[b : b + n] for b, n in zip(begins, used, strict=False)])
        last = torch.tensor([(n - 1) % page_size + 1 for n in lengths], dtype=torch.int32)
        return indptr.to(device), indices, last.to(device)

    def places(first, last):
        """Positions and slots of tokens first <= t < last of each sequence."""
        rows = [torch.arange(a, b, device=device) for a, b in zip(first, last, strict=True)]
        slots = [
            order[begins[i] + r // page_size].long() * page_size + r % page_size
            for i, r in enumerate(rows)
        ]
        return torch.cat(rows).int(), torch.cat(slots)

    workspace = torch.empty(128 << 20, dtype=torch.uint8, device=device)
    kind = {"q_data_type": bf16, "kv_data_type": bf16}
    prefill = flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
    qo_indptr = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    prefill.plan(
        qo_indptr.to(device),
        *plan(LENGTHS),
        *(HEADS, KV_HEADS, DIM, page_size),
        causal=True,
        **kind,
    )
    shared = (layers, ends, table, caches, page_size)
    positions, slots = places([0] * len(LENGTHS), LENGTHS)
    first = step(*shared, positions, slots, tokens[: len(slots)], prefill)
    decode = flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD")
    decode.plan(*plan(longest), HEADS, KV_HEADS, DIM, page_size, **kind)
    positions, slots = places(LENGTHS, longest)
    second = step(*shared, positions, slots, tokens[-len(slots) :], decode)
    return torch.cat((first, second))


def main(folder):
    from flashinfer.trace_apply.config import load_config

    layers, ends = weights()
    without = {size: model(layers, ends, size) for size in PAGES}
    config = load_config(folder)
    trace_apply.enable_apply({s.definition: s for s in config.solutions.values()})
    for size, expected in without.items():
        found = model(layers, ends, size)
        assert expected.isfinite().all()
        difference = (found.float() - expected.float()).norm() / expected.float().norm()
        assert difference < 2e-2, (size, difference.item())
        same = (found.argmax(-1) == expected.argmax(-1)).float().mean().item()
        assert same > 0.97, (size, same)
    json.dump(trace_apply.stats(), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
