"""FlashInfer's sparse MLA kernel for Blackwell as ground truth for sparse latent attention."""

import torch


def flashinfer_dsa_sparse_attention_trtllm(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """The output, and None: sparse, the kernel gives no log-sum-exp.

    Each query is a sequence of one token; its chosen keys stand at the front of its table, as the
    kernel reads them up to the sequence's length. Queries without keys keep the definition's 0.
    """
    import flashinfer

    device = q_nope.device
    heads, ckv = q_nope.shape[1], q_nope.shape[2]
    if sparse_indices.shape[1] % 4:
        raise NotImplementedError("the kernel reads four indices at a time")
    there = sparse_indices >= 0
    kept = there.any(-1)
    output = torch.zeros_like(q_nope)
    if not bool(kept.any()):
        return output, None
    order = torch.argsort((~there).byte(), dim=-1, stable=True)
    table = sparse_indices.gather(1, order)[kept]
    cache = torch.cat((torch.nan_to_num(ckv_cache), torch.nan_to_num(kpe_cache)), -1)
    lengths = there.sum(-1)[kept].int()
    result = flashinfer.mla.trtllm_batch_decode_with_kv_cache_mla(
        query=torch.cat((q_nope, q_pe), -1)[kept][:, None],
        kv_cache=cache[:, None],
        workspace_buffer=torch.zeros(128 * 1024 * 1024, dtype=torch.uint8, device=device),
        qk_nope_head_dim=128,
        kv_lora_rank=ckv,
        qk_rope_head_dim=q_pe.shape[2],
        block_tables=table[:, None].int().contiguous(),
        seq_lens=lengths,
        max_seq_len=int(lengths.max()),
        sparse_mla_top_k=table.shape[1],
        bmm1_scale=float(sm_scale),
        bmm2_scale=1.0,
        backend="trtllm-gen",
    )
    output[kept] = result.reshape(-1, heads, ckv).to(output.dtype)
    return output, None
