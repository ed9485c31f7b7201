"""Calls of FlashInfer that its logging dumps before they fail for want of a GPU.

Run with FLASHINFER_LOGLEVEL=10 FLASHINFER_DUMP_SAFETENSORS=1 FLASHINFER_DUMP_DIR=DIR.
"""

import sys

import flashinfer
import torch

bf16, i32 = torch.bfloat16, torch.int32


def call(function, *arguments, **keywords):
    try:
        function(*arguments, **keywords)
    except Exception as error:  # noqa: BLE001 - there is no GPU; the dump is written by now
        sys.stderr.write(f"{type(error).__name__}\n")


def main():
    for rows in (3, 3, 5):
        x = torch.full((rows, 64), 42.0).to(bf16)
        call(flashinfer.norm.rmsnorm, x, torch.ones(64).to(bf16), 1e-5)
    call(flashinfer.norm.rmsnorm, torch.zeros(2, 96).to(bf16), torch.ones(96).to(bf16))
    call(flashinfer.gelu_tanh_and_mul, torch.zeros(2, 96).to(bf16))
    wrapper = object.__new__(flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper)
    wrapper._jit_module = None
    q = torch.zeros(2, 4, 16).to(bf16)
    cache = tuple(torch.zeros(40, 1, 2, 16).to(bf16) for _ in "kv")
    indptr, last = torch.tensor([0, 3, 5], dtype=i32), torch.ones(2, dtype=i32)
    pages = torch.tensor([30, 7, 9, 12, 30, 0, 0], dtype=i32)  # a CUDA graph's buffer is longer
    sizes = (4, 2, 16, 1)
    call(wrapper.plan, indptr, pages, last, *sizes, q_data_type=bf16, sm_scale=0.25)
    call(wrapper.run, q, cache)
    call(wrapper.plan, indptr, pages, last, *sizes, q_data_type=bf16, window_left=7)
    call(wrapper.run, q, cache)


if __name__ == "__main__":
    main()
