"""What is imitated of other packages, one module a library (`table.py`)."""

from fibcore.elaborate.python.libraries import (
    collections,
    contextlib,
    copy,
    dataclasses,
    enum,
    exceptions,
    functools,
    importlib,
    itertools,
    logging,
    math,
    numpy,
    operator,
    os,
    re,
    torch,
    torch_nn,
    types,
    typing,
)

__all__ = [
    "collections", "contextlib", "copy", "dataclasses", "enum", "exceptions", "functools",
    "importlib", "itertools", "logging", "math", "numpy", "operator", "os", "re", "torch",
    "torch_nn", "types", "typing",
]  # fmt: skip
