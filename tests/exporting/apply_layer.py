"""A layer of a small Llama by FlashInfer's functions, each of which trace_apply replaces.

Run by an interpreter that has FlashInfer 0.7 and torch: `python apply_layer.py DIR`. FlashInfer's
own kernels need a GPU; what is compared with here is the layer in plain torch. Prints what was hit.
"""

import json
import sys

import flashinfer
import torch
from flashinfer import trace_apply

HEADS, KV_HEADS, DIM, HIDDEN, INTER, VOCAB, EPS = 4, 2, 16, 64, 128, 128, 1e-5
bf16 = torch.bfloat16
torch.manual_seed(0)


def planned(cls, **attributes):
    """A wrapper as `plan` would leave it, which cannot be called without a GPU."""
    wrapper = object.__new__(cls)
    common = {"_window_left": -1, "_logits_soft_cap": 0.0, "_pos_encoding_mode": "NONE"}
    for name, value in {**common, "_kv_layout": "NHD", **attributes}.items():
        setattr(wrapper, name, value)
    return wrapper


def near(name, found, expected, tolerance=2e-2):
    difference = (found.float() - expected.float()).abs().max().item()
    size = expected.float().abs().max().item()
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    assert found.dtype == expected.dtype, (name, found.dtype)
    assert difference <= tolerance * max(size, 1.0), (name, difference, size)


def refused(word, function, *arguments, **named):
    """Another style, or another plan, than the definition's."""
    message = ""
    try:
        function(*arguments, **named)
    except RuntimeError as error:
        message = str(error)
    assert word in message, (function, message)


def norm(x, weight):
    x = x.float()
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight.float()).to(bf16)


def rotate(x, table, positions):
    cos, sin = table[positions][:, None].chunk(2, -1)
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(bf16)


def attend(q, k, v, causal_from):
    """One sequence: q [n, heads, d], k, v [m, kv heads, d]; query i sees causal_from + i + 1."""
    k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1).float() for t in (k, v))
    logits = torch.einsum("qhd,khd->hqk", q.float(), k) * DIM**-0.5
    seen = torch.arange(k.shape[0])[None] <= causal_from + torch.arange(q.shape[0])[:, None]
    logits = logits.masked_fill(~seen, -torch.inf)
    lse = torch.logsumexp(logits, -1).T / torch.log(torch.tensor(2.0))
    return torch.einsum("hqk,khd->qhd", logits.softmax(-1), v).to(bf16), lse


def weight(n, k):
    return (torch.randn(n, k) * k**-0.5).to(bf16)


def main(folder):
    from flashinfer.trace_apply.config import load_config

    # torch without CUDA cannot say that no graph is being captured.
    torch.cuda.is_current_stream_capturing = lambda: False
    config = load_config(folder)
    assert len(config.solutions) == len(config.definitions)
    trace_apply.enable_apply({s.definition: s for s in config.solutions.values()})

    tokens, lengths = 9, (5, 4)
    x = torch.randn(tokens, HIDDEN).to(bf16)
    residual = torch.randn(tokens, HIDDEN).to(bf16)
    w1, w2 = (1 + torch.randn(HIDDEN) / 10).to(bf16), (1 + torch.randn(HIDDEN) / 10).to(bf16)
    near("rmsnorm", flashinfer.norm.rmsnorm(x, w1, EPS), norm(x, w1))

    # Both arguments of the fused norm are overwritten.
    total = (x.float() + residual.float()).to(bf16)
    hidden, stream = x.clone(), residual.clone()
    assert flashinfer.norm.fused_add_rmsnorm(hidden, stream, w1, EPS) is None
    near("fused_add_rmsnorm", hidden, norm(x.float() + residual.float(), w1))
    near("residual", stream, total, 1e-3)

    qkv_weight = weight((HEADS + 2 * KV_HEADS) * DIM, HIDDEN)
    qkv = flashinfer.mm_bf16(hidden, qkv_weight.T)
    near("mm_bf16", qkv, (hidden.float() @ qkv_weight.float().T).to(bf16))
    q, k, v = qkv.split([HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM], -1)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()

    angles = torch.outer(torch.arange(64).float(), 10000.0 ** -(torch.arange(0, DIM, 2) / DIM))
    table = torch.cat((angles.cos(), angles.sin()), -1)
    positions = torch.cat([torch.arange(n) for n in lengths]).int()
    turned = [rotate(t.view(tokens, -1, DIM), table, positions.long()) for t in (q, k)]
    out = flashinfer.rope.apply_rope_with_cos_sin_cache(positions, q, k, DIM, table)
    near("rope", out[0], turned[0].flatten(1))
    near("rope of keys", out[1], turned[1].flatten(1))
    refused(
        "is_neox", flashinfer.rope.apply_rope_with_cos_sin_cache, positions, q, k, DIM, table, False
    )

    q, k = out
    q, k, v = q.view(tokens, HEADS, DIM), k.view(tokens, -1, DIM), v.view(tokens, -1, DIM)
    indptr = torch.tensor([0, 5, 9], dtype=torch.int32)
    expected = [attend(q[a:b], k[a:b], v[a:b], 0) for a, b in ((0, 5), (5, 9))]
    output, lse = (torch.cat(parts) for parts in zip(*expected, strict=True))

    ragged = planned(
        flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper, _causal=True, _custom_mask_buf=None
    )
    stash(ragged, qo_indptr=indptr, kv_indptr=indptr, sm_scale=DIM**-0.5)
    near("ragged", ragged.run(q, k, v), output)
    near("ragged lse", ragged.run(q, k, v, return_lse=True)[1], lse)
    ragged._causal = False
    refused("_causal", ragged.run, q, k, v)

    for page_size in (1, 64):
        paged(page_size, q, k, v, lengths, output, lse)

    w_o = weight(HIDDEN, HEADS * DIM)
    hidden = flashinfer.mm_bf16(output.flatten(1), w_o.T)
    flashinfer.norm.fused_add_rmsnorm(hidden, stream, w2, EPS)
    w_up, w_down = weight(2 * INTER, HIDDEN), weight(HIDDEN, INTER)
    both = flashinfer.mm_bf16(hidden, w_up.T)
    gate, up = both.float().chunk(2, -1)
    active = flashinfer.activation.silu_and_mul(both)
    near("silu_and_mul", active, (gate * torch.sigmoid(gate) * up).to(bf16))
    hidden = flashinfer.mm_bf16(active, w_down.T)
    flashinfer.norm.fused_add_rmsnorm(hidden, stream, w1, EPS)
    logits = flashinfer.mm_bf16(hidden, weight(VOCAB, HIDDEN).T)
    assert bool(logits.isfinite().all())
    json.dump(trace_apply.stats(), sys.stdout)


def stash(wrapper, **plan):
    """What `plan` was called with, as trace_apply keeps it."""
    from flashinfer.trace_apply import plan_capture

    plan_capture.stash_plan_kwargs(wrapper, plan)


def paged(page_size, q, k, v, lengths, output, lse):
    """Prefill, and decode of the last token of each sequence, over a cache in pages."""
    pages = [-(-n // page_size) for n in lengths]
    kv_indptr = torch.tensor([0, pages[0], sum(pages)], dtype=torch.int32)
    indices = torch.randperm(sum(pages)).int()
    last = torch.tensor([(n - 1) % page_size + 1 for n in lengths], dtype=torch.int32)
    caches = []
    for tensor in (k, v):
        cache = torch.full((sum(pages), page_size, KV_HEADS, DIM), 7.0).to(bf16)
        first = 0
        for sequence, n in enumerate(lengths):
            for token in range(n):
                page = indices[kv_indptr[sequence] + token // page_size]
                cache[page, token % page_size] = tensor[first + token]
            first += n
        caches.append(cache)
    indptr = torch.tensor([0, 5, 9], dtype=torch.int32)
    prefill = planned(
        flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper,
        _causal=True,
        _custom_mask_buf=None,
        _paged_kv_last_page_len_buf=last,
    )
    stash(
        prefill,
        qo_indptr=indptr,
        paged_kv_indptr=kv_indptr,
        paged_kv_indices=indices,
        sm_scale=DIM**-0.5,
    )
    near(f"prefill {page_size}", prefill.run(q, tuple(caches)), output)
    near(f"prefill lse {page_size}", prefill.run(q, tuple(caches), return_lse=True)[1], lse)
    # A prefix, which all queries see.
    prefill._causal = False
    everything = [
        attend(q[a:b], k[a:b], v[a:b], b - a) for a, b in zip((0, 5), (5, 9), strict=True)
    ]
    found = prefill.run(q, tuple(caches), return_lse=True)
    near(f"prefix {page_size}", found[0], torch.cat([part[0] for part in everything]))
    near(f"prefix lse {page_size}", found[1], torch.cat([part[1] for part in everything]))
    decode = planned(
        flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper,
        _paged_kv_indptr_buf=kv_indptr,
        _paged_kv_indices_buf=torch.cat((indices, indices[:1])),  # a graph's is longer
        _paged_kv_last_page_len_buf=last,
        _sm_scale=None,
    )
    rows = [4, 8]
    near(f"decode {page_size}", decode.run(q[rows], tuple(caches)), output[rows])
    near(
        f"decode lse {page_size}", decode.run(q[rows], tuple(caches), return_lse=True)[1], lse[rows]
    )


if __name__ == "__main__":
    main(sys.argv[1])
