"""A layer of a small DeepSeek-V3 by FlashInfer's functions, each of which trace_apply replaces.

Run by an interpreter that has FlashInfer 0.7 and torch: `python apply_latent.py DIR`. FlashInfer's
own kernels need a GPU; what is compared with here is each step in plain torch. Prints what was hit.
"""

import json
import sys

import flashinfer
import torch
from apply_layer import near, norm, planned, refused, stash
from flashinfer import trace_apply

HEADS, NOPE, ROPE, VALUE, CKV, HIDDEN, VOCAB = 4, 64, 64, 64, 128, 256, 128
EXPERTS, GROUPS, KEPT, TOP_K, INTER, FACTOR = 8, 2, 1, 2, 128, 2.5
LENGTHS = (5, 70)
SCALE = (NOPE + ROPE) ** -0.5
bf16, fp8 = torch.bfloat16, torch.float8_e4m3fn


def random(*shape):
    return torch.randn(*shape).to(bf16)


def quantized(x, rows):
    """fp8 numbers of x [..., n, k] and a scale for `rows` x 128 of them."""
    n, k = x.shape[-2:]
    blocks = x.float().reshape(*x.shape[:-2], n // rows, rows, k // 128, 128)
    scale = blocks.abs().amax((-3, -1)) / 448
    small = (blocks / scale[..., :, None, :, None]).reshape(x.shape).to(fp8)
    return small, scale


def exact(x, scale, rows):
    return x.float() * scale.repeat_interleave(rows, -2).repeat_interleave(128, -1)


def attend(q, k, v, sees):
    """One sequence: q [n, heads, d], k [m, heads, d], v [m, heads, e]; q[i] sees sees[i] keys."""
    logits = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * SCALE
    hidden = torch.arange(k.shape[0])[None] >= sees[:, None]
    logits = logits.masked_fill(hidden, -torch.inf)
    lse = torch.logsumexp(logits, -1).T / torch.log(torch.tensor(2.0))
    return torch.einsum("hqk,khd->qhd", logits.softmax(-1), v.float()).to(bf16), lse


def products():
    x, weight = random(6, HIDDEN), random(512, HIDDEN)
    b, b_scale = quantized(weight, 128)
    a, a_scale = quantized(x, 1)
    expected = (exact(a, a_scale, 1) @ exact(b, b_scale, 128).T).to(bf16)
    call = flashinfer.gemm.gemm_fp8_nt_groupwise
    near("rows first", call(a, b, a_scale, b_scale, scale_major_mode="K"), expected)
    turned = a_scale.T.contiguous(), b_scale.T.contiguous()
    near("columns first", call(a, b, *turned, scale_major_mode="MN"), expected)
    near("as shapes say", call(a, b, a_scale, b_scale, backend="trtllm"), expected)
    one, one_scale = a[:2], a_scale[:2]
    # Two rows and two blocks say nothing of how they lie.
    refused("which way", call, one, b, one_scale, b_scale, backend="trtllm")
    near(
        "quantised before",
        flashinfer.gemm.fp8_blockscale_gemm_sm90(a, b, a_scale, b_scale),
        expected,
    )
    near(
        "quantised within", flashinfer.gemm.fp8_blockscale_gemm_sm90(x, b, None, b_scale), expected
    )

    weight, bias, out = random(VOCAB, HIDDEN), random(VOCAB), torch.empty(6, VOCAB, dtype=bf16)
    assert flashinfer.gemm.tinygemm_bf16(x, weight, out, bias) is None
    near("tinygemm", out, (x.float() @ weight.float().T + bias.float()).to(bf16))
    near("mm_bf16", flashinfer.mm_bf16(x, weight.T), (x.float() @ weight.float().T).to(bf16))
    q, absorbed = random(HEADS, 6, NOPE), random(HEADS, NOPE, CKV)
    near("bmm_bf16", flashinfer.bmm_bf16(q, absorbed), (q.float() @ absorbed.float()).to(bf16))
    whole = flashinfer.bmm_bf16(q, absorbed, out_dtype=torch.float32)
    near("bmm_bf16 to float32", whole, q.float() @ absorbed.float(), 1e-4)


def latent(page_size):
    """Decode, a chunk of a prefill, and one that sees all keys, over a latent cache in pages."""
    pages = [-(-n // page_size) for n in LENGTHS]
    kv_indptr = torch.tensor([0, pages[0], sum(pages)], dtype=torch.int32)
    indices = torch.randperm(sum(pages)).int()
    ckv, kpe = random(sum(LENGTHS), CKV), random(sum(LENGTHS), ROPE)
    caches = [torch.full((sum(pages), page_size, d), 7.0).to(bf16) for d in (CKV, ROPE)]
    first = 0
    for sequence, n in enumerate(LENGTHS):
        for token in range(n):
            page = indices[kv_indptr[sequence] + token // page_size]
            for cache, tensor in zip(caches, (ckv, kpe), strict=True):
                cache[page, token % page_size] = tensor[first + token]
        first += n
    for queries, causal in (((1, 1), False), ((3, 7), True), ((2, 4), False)):
        wrapper = planned(
            flashinfer.mla.BatchMLAPagedAttentionWrapper,
            _kv_indptr_buf=kv_indptr,
            _kv_indices_buf=indices,
            _kv_len_arr_buf=torch.tensor(LENGTHS, dtype=torch.int32),
            _qo_indptr_buf=torch.tensor([0, queries[0], sum(queries)], dtype=torch.int32),
            _sm_scale=SCALE,
            _causal=causal,
        )
        q, q_pe = random(sum(queries), HEADS, CKV), random(sum(queries), HEADS, ROPE)
        expected = []
        for i, (m, n) in enumerate(zip(queries, LENGTHS, strict=True)):
            rows, keys = (
                slice(sum(queries[:i]), sum(queries[: i + 1])),
                slice(*((0, 5), (5, 75))[i]),
            )
            sees = torch.arange(n - m, n) + 1 if causal else torch.full((m,), n)
            k = torch.cat((ckv, kpe), -1)[keys, None].expand(-1, HEADS, -1)
            both = torch.cat((q, q_pe), -1)[rows]
            expected.append(attend(both, k, k[..., :CKV], sees))
        output, lse = (torch.cat(parts) for parts in zip(*expected, strict=True))
        given = {"q_nope": q, "q_pe": q_pe, "ckv_cache": caches[0], "kpe_cache": caches[1]}
        near(f"latent {page_size} {queries}", wrapper.run(**given), output)
        found = wrapper.run(**given, return_lse=True, return_lse_base_on_e=True)
        near("natural lse", found[1], lse * torch.log(torch.tensor(2.0)))
    refused("kpe_scale", wrapper.run, **given, kpe_scale=2.0)


def materialised():
    indptr = torch.tensor([0, 5, 75], dtype=torch.int32)
    q, k = random(75, HEADS, NOPE + ROPE), random(75, HEADS, NOPE + ROPE)
    v = random(75, HEADS, VALUE)
    wrapper = planned(
        flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper, _causal=True, _custom_mask_buf=None
    )
    stash(wrapper, qo_indptr=indptr, kv_indptr=indptr, sm_scale=SCALE)
    expected = [
        attend(q[a:b], k[a:b], v[a:b], torch.arange(b - a) + 1) for a, b in ((0, 5), (5, 75))
    ]
    near("materialised", wrapper.run(q, k, v), torch.cat([part[0] for part in expected]))


def experts():
    tokens = 9
    x, x_scale = quantized(random(tokens, HIDDEN), 1)
    w1, w1_scale = quantized(random(EXPERTS, 2 * INTER, HIDDEN), 128)
    w2, w2_scale = quantized(random(EXPERTS, HIDDEN, INTER), 128)
    logits, bias = torch.randn(tokens, EXPERTS), random(EXPERTS)
    scores = logits.sigmoid()
    biased = scores + bias.float()
    best = biased.view(tokens, GROUPS, -1).topk(2, -1).values.sum(-1).topk(KEPT, -1).indices
    kept = torch.zeros(tokens, GROUPS).scatter_(1, best, 1.0).repeat_interleave(4, 1) > 0
    chosen = biased.masked_fill(~kept, -torch.inf).topk(TOP_K, -1).indices
    weights = scores.gather(1, chosen)
    weights = FACTOR * weights / weights.sum(-1, keepdim=True)
    expected = torch.zeros(tokens, HIDDEN)
    inputs, up_gate = exact(x, x_scale, 1), exact(w1, w1_scale, 128)
    down = exact(w2, w2_scale, 128)
    for token in range(tokens):
        for expert, weight in zip(chosen[token], weights[token], strict=True):
            up, gate = (up_gate[expert] @ inputs[token]).chunk(2)
            expected[token] += weight * (down[expert] @ (up * torch.nn.functional.silu(gate)))
    given = {
        "routing_logits": logits,
        "routing_bias": bias,
        "hidden_states": x,
        "hidden_states_scale": x_scale.T.contiguous(),
        "gemm1_weights": w1,
        "gemm1_weights_scale": w1_scale,
        "gemm2_weights": w2,
        "gemm2_weights_scale": w2_scale,
        "num_experts": EXPERTS,
        "top_k": TOP_K,
        "n_group": GROUPS,
        "topk_group": KEPT,
        "intermediate_size": INTER,
        "local_expert_offset": 0,
        "local_num_experts": EXPERTS,
        "routed_scaling_factor": FACTOR,
        "routing_method_type": 2,
    }
    call = flashinfer.fused_moe.trtllm_fp8_block_scale_moe
    near("experts", call(**given), expected.to(bf16))
    refused("use_shuffled_weight", call, **given, use_shuffled_weight=True)
    refused("activation_type", call, **given, activation_type=4)


def sampled():
    logits = torch.randn(5, VOCAB) * 3
    temperature = torch.rand(5) + 0.5
    sampling = flashinfer.sampling
    probs = torch.softmax(logits / temperature[:, None], -1)
    near("softmax", sampling.softmax(logits, temperature), probs, 1e-5)
    near("softmax of one", sampling.softmax(logits, 0.5), torch.softmax(logits / 0.5, -1), 1e-5)
    near("softmax as it is", sampling.softmax(logits), torch.softmax(logits, -1), 1e-5)
    order = probs.sort(-1, descending=True)
    kept = torch.zeros_like(probs).scatter_(1, order.indices[:, :3], order.values[:, :3])
    top = kept / kept.sum(-1, keepdim=True)
    near("top-k", sampling.top_k_renorm_probs(probs, 3), top, 1e-5)
    near("no top-k", sampling.top_k_renorm_probs(probs, torch.full((5,), 1 << 30)), probs, 1e-5)
    head = order.values.cumsum(-1) - order.values < 0.5
    kept = torch.zeros_like(probs).scatter_(1, order.indices, order.values * head)
    near("top-p", sampling.top_p_renorm_probs(probs, 0.5), kept / kept.sum(-1, keepdim=True), 1e-5)
    rows = torch.tensor([4, 0, 0])
    largest = probs.argmax(-1)
    for name, filters in (
        ("top_k_sampling_from_probs", (1,)),
        ("top_p_sampling_from_probs", (1e-6,)),
        ("top_k_top_p_sampling_from_probs", (torch.ones(5, dtype=torch.int32), 0.9)),
        ("min_p_sampling_from_probs", (torch.full((5,), 1.0),)),
    ):
        drawn = getattr(sampling, name)(probs, *filters)
        assert drawn.dtype == torch.int32, name
        assert torch.equal(drawn.long(), largest), name
    drawn = sampling.top_k_sampling_from_probs(probs, 1, rows)
    assert torch.equal(drawn, largest[rows])
    counts = torch.zeros(VOCAB)
    one = torch.zeros(20000, dtype=torch.int64)
    drawn = sampling.sampling_from_probs(probs, one)
    counts.index_add_(0, drawn.long(), torch.ones(len(one)))
    near("drawn", counts / len(one), probs[0], 2e-2)
    generator = torch.Generator()
    refused("generator", sampling.sampling_from_probs, probs, None, True, generator)
    refused(
        "filter_apply_order", sampling.top_k_top_p_sampling_from_probs, probs, 3, 0.5, None, "joint"
    )


def main(folder):
    from flashinfer.trace_apply.config import load_config

    torch.manual_seed(0)
    # torch without CUDA cannot say that no graph is being captured.
    torch.cuda.is_current_stream_capturing = lambda: False
    config = load_config(folder)
    trace_apply.enable_apply({s.definition: s for s in config.solutions.values()})
    x, weight = random(6, HIDDEN), random(HIDDEN)
    near("rmsnorm", flashinfer.norm.rmsnorm(x, weight, 1e-5), norm(x, weight))
    refused("eps", flashinfer.norm.rmsnorm, x, weight, 1e-6)
    products()
    latent(1)
    latent(64)
    materialised()
    experts()
    sampled()
    json.dump(trace_apply.stats(), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
