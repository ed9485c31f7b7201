"""Decorators of other packages: those that leave what they decorate as it is.

For what is followed here, a function that is compiled, registered or run without gradients is the
same function. Of a package that is not in the list nobody knows what its decorators give.
"""

from __future__ import annotations

TRANSPARENT = frozenset((
    "abc", "atexit", "attr", "attrs", "contextlib", "cuda", "cupy", "cutlass", "dataclasses",
    "deprecated", "einops", "enum", "fastapi", "functools", "msgspec", "nvtx", "numba", "numpy",
    "PIL", "pydantic", "tilelang", "torch", "torch_npu", "torchaudio", "torchvision", "triton",
    "types", "typing", "typing_extensions", "warnings",
))  # fmt: skip
"""Packages whose decorators are taken to leave functions and classes as they are."""
