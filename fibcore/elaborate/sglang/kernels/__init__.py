"""Which functions run on the device, by library: what a pass does not look into, and notes.

One file for each library, of dotted names and their last parts:

* `KERNELS`: how the names of functions begin that launch kernels, each of which stands for all that
  it launches,
* `HELPERS`: how those of others among them begin: what asks for sizes, allocates, configures,
* `HELPER_NAMES`: how the last parts of such names begin,
* `BESIDE`: words in the last parts of names of kernels that compute something else than the layer
  around them does: the quantisation of a GEMM's input is no part of the GEMM, as its epilogue is.

Of what models call in their own forward passes, `NOTED` in `sglang` says what is noted: how the
names of functions begin that no module stands for.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from fibcore.elaborate.sglang.kernels import deep_gemm, flashinfer, rocm, sgl_kernel, sglang, torch

_LIBRARIES: dict[str, ModuleType] = {
    "torch": torch,
    "sgl_kernel": sgl_kernel,
    "flashinfer": flashinfer,
    "deep_gemm": deep_gemm,
    "aiter": rocm,
    "sglang": sglang,
}


@cache
def is_kernel(name: str) -> bool:
    """Whether a function launches kernels, by its dotted name."""
    library = _LIBRARIES.get(name.partition(".")[0])
    if library is None or not name.startswith(library.KERNELS):
        return False
    last = name.rpartition(".")[2]
    return not (name.startswith(library.HELPERS) or last.startswith(library.HELPER_NAMES))


@cache
def is_beside(name: str) -> bool:
    """Whether a kernel is none of the layer's own that runs it."""
    library = _LIBRARIES.get(name.partition(".")[0])
    last = name.rpartition(".")[2]
    return library is not None and (
        any(word in last for word in library.BESIDE) or name.startswith("torch.distributed.")
    )


@cache
def is_noted(name: str) -> bool:
    """Whether a function is noted where a model's own forward pass calls it."""
    return name.startswith(sglang.NOTED)
