"""Latent attention is a line of FlashInfer's benchmark; narrow caches are left out."""

from __future__ import annotations

from typing import Any

from fibcore.plugin import ExportRequest, Kernel, ServedKernel, Serving
from fibcore_op_mla import definitions, fibcore_exports

(FORMAT,) = (one for one in fibcore_exports() if one.name == "flashinfer-testlist")
SIZES = {"num_qo_heads": 16, "head_dim_ckv": 512, "head_dim_kpe": 64, "page_size": 64}


def written(**more: Any) -> Any:
    parameters = {"kind": "decode", **SIZES, **more}
    kernel = Kernel("mla_paged", "mla_paged_decode_h16", parameters, {}, (), ("stage:decode",))
    served = ServedKernel("example", Serving(), kernel, definitions.define(kernel))
    return FORMAT.write(ExportRequest((served,), (8,), ()))


def test_a_line_states_the_latent_sizes() -> None:
    (line,), *_ = written().rows
    assert line.startswith("--routine BatchMLAPagedAttentionWrapper --num_qo_heads 16 ")
    assert "--head_dim_ckv 512 --head_dim_kpe 64 --page_size 64" in line
    assert "--batch_size 8 --s_qo 1 --s_kv 1024" in line


def test_a_narrow_cache_is_left_out() -> None:
    exported = written(cache_dtype="float8_e4m3fn")
    assert not exported.rows
    assert list(exported.left_out) == ["mla_paged_decode_h16"]
