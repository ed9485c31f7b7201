"""Which functions run on the device, by library: what a pass does not look into, and notes.

One file for each library, with the patterns of `fnmatch` over dotted names:

* `KERNELS`: functions that launch kernels, each standing for all that it launches,
* `HELPERS`: functions among them that launch none (what asks for sizes, allocates, configures), or
  that choose among kernels and so are gone into,
* `BESIDE`: kernels that compute something else than the layer around them does: the quantisation
  of a GEMM's input is not a part of the GEMM, as its epilogue is.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache

from fibcore.elaborate.sglang.kernels import (
    deep_gemm,
    flashinfer,
    sgl_kernel,
    sglang,
    torch,
)

_LIBRARIES = (torch, sgl_kernel, flashinfer, deep_gemm, sglang)


@cache
def is_kernel(name: str) -> bool:
    """Whether a function launches kernels, by its dotted name."""
    return _matches("KERNELS", name) and not _matches("HELPERS", name)


@cache
def is_beside(name: str) -> bool:
    """Whether a kernel is none of the layer's own that runs it."""
    return _matches("BESIDE", name)


def _matches(table: str, name: str) -> bool:
    return _pattern(table).match(name) is not None


@cache
def _pattern(table: str) -> re.Pattern[str]:
    patterns = [p for library in _LIBRARIES for p in getattr(library, table, ())]
    return re.compile("|".join(map(translate, patterns)))
