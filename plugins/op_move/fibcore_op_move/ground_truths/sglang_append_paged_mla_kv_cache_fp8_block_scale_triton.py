"""SGLang's kernel that quantises what goes to a cache, and torch's assignment to places."""

import importlib.util
from typing import Any

import torch

SGLANG_FILES = (
    "kernels/ops/quantization/dsa_quant_k_cache.py",
    "srt/layers/attention/nsa/quant_k_cache.py",
)


def sglang_append_paged_mla_kv_cache_fp8_block_scale_triton(
    load_sglang: Any,
    append_ckv: torch.Tensor,
    append_kpe: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    kv_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> torch.Tensor:
    """The cache, copied and then written in place.

    The file is run as it stands: it needs torch and Triton alone, and Triton reads the text of its
    kernels. A block of zeros is 0 * inf there, which is no number.
    """
    del kv_last_page_len  # positions say it, too
    page_size = kv_cache.shape[1]
    begins = kv_indptr.long().index_select(0, batch_indices.long())
    ordinal = torch.div(positions.long(), page_size, rounding_mode="floor")
    pages, places = kv_indices.long()[begins + ordinal], positions.long() - ordinal * page_size
    name = "_quantize_k_cache_fast"
    file = next((one for one in SGLANG_FILES if load_sglang.has(one, name)), SGLANG_FILES[0])
    load_sglang(file, name)  # so that it is known which text this is
    spec = importlib.util.spec_from_file_location(
        "sglang_quant_k_cache", load_sglang.package / file
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    updated = kv_cache.clone()
    if len(append_ckv):
        packed = module._quantize_k_cache_fast(append_ckv.contiguous(), append_kpe.contiguous())
        updated[pages, places] = packed.view(torch.int8)
    return updated
