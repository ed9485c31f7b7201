"""Plain attention is a line of FlashInfer's benchmark; what that has no options for is left out."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.plugin import ExportRequest, Kernel, ServedKernel, Serving
from fibcore_op_gqa import definitions, fibcore_exports
from fibcore_op_gqa.names import KINDS, kernel_name

FORMAT = next(one for one in fibcore_exports() if one.name == "flashinfer-testlist")


def written(kind: Any, page_size: int | None, **more: Any) -> Any:
    sizes = {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    paged = {} if page_size is None else {"page_size": page_size}
    parameters = {"kind": kind, **sizes, **paged, **more}
    name = kernel_name(kind, 32, 8, 128, page_size) + "_more" * bool(more)
    tags = (f"stage:{KINDS[kind].stage}",)
    kernel = Kernel(KINDS[kind].op_type, name, parameters, {}, (), tags)
    served = ServedKernel("example", Serving(), kernel, definitions.define(kernel))
    return FORMAT.write(ExportRequest((served,), (1, 4096), ()))


def test_decode_is_batched_and_prefill_is_one_sequence() -> None:
    decode, prefill = written("decode", 64).rows, written("prefill", 64).rows
    assert [line.split(" --q_dtype")[0] for (line,) in decode] == [
        (
            "--routine BatchDecodeWithPagedKVCacheWrapper --num_qo_heads 32 --num_kv_heads 8"
            " --head_dim_qk 128 --head_dim_vo 128 --page_size 64"
        )
    ] * 2
    assert [line.split("bfloat16 --batch_size ")[1] for (line,) in decode] == [
        "1 --s_qo 1 --s_kv 1024 --case_tag gqa_paged_decode_h32_kv8_d128_ps64",
        "1 --s_qo 1 --s_kv 8192 --case_tag gqa_paged_decode_h32_kv8_d128_ps64",
    ]
    ((line,),) = prefill
    assert "--batch_size 1 --s_qo 4096 --s_kv 4096 --causal" in line


@pytest.mark.parametrize(
    "more",
    [{"sliding_window": 128}, {"sinks": True}, {"cache_dtype": "float8_e4m3fn"}, {"value_dim": 64}],
)
def test_what_the_benchmark_cannot_be_told_is_left_out(more: dict[str, Any]) -> None:
    exported = written("decode", 1, **more)
    assert (exported.files, exported.rows) == ((), ())
    assert len(exported.left_out) == 1
