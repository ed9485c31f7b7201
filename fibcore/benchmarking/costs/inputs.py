"""Integer inputs of workloads: offsets and page tables, which tell how much there is to do.

They are read without NumPy, which costs need for nothing else.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fibcore.dataset.files import below
from fibcore.errors import DatasetError
from fibcore.model.definition import Definition
from fibcore.model.dtypes import TABLE
from fibcore.model.json import decode
from fibcore.regular_files import read_bytes

_CODES = {"I64": "q", "I32": "i", "I16": "h", "I8": "b"}
_HEADER = struct.Struct("<Q")


class IntegerInputs:
    """Reads the integer inputs of a dataset's workloads; tensors that several share, once."""

    def __init__(self, root: Path) -> None:
        """Take the dataset's folder."""
        self.root = root
        self._read: dict[tuple[str, str], Sequence[int] | None] = {}

    def of(self, definition: Definition, inputs: Mapping[str, Any]) -> dict[str, Sequence[int]]:
        """Elements of the integer inputs, by name, as far as they can be read.

        What cannot is left out: `fibcore validate` says what is wrong with it, and a cost what it
        assumes without it.

        Args:
            definition: The definition.
            inputs: A workload's inputs, as its line has them.
        """
        found: dict[str, Sequence[int]] = {}
        for name, spec in definition.inputs.items():
            given = inputs.get(name)
            if TABLE[spec.dtype].kind != "int" or not isinstance(given, dict):
                continue
            path, key, value = given.get("path"), given.get("tensor_key"), given.get("value")
            if given.get("type") == "safetensors" and isinstance(path, str):
                values = self._tensor(path, str(key))
                if values is not None:
                    found[name] = values
            elif given.get("type") == "scalar" and type(value) is int:
                found[name] = (value,)
        return found

    def _tensor(self, path: str, key: str) -> Sequence[int] | None:
        if (path, key) not in self._read:
            try:
                data = read_bytes(below(self.root, path))
                self._read[path, key] = _elements(data, key)
            except (DatasetError, OSError, ValueError, struct.error):
                self._read[path, key] = None
        return self._read[path, key]


def _elements(data: bytes, key: str) -> Sequence[int]:
    """The elements of a tensor of integers in a safetensors file.

    The file begins with the length of its header, eight bytes, and the header: JSON with dtype,
    shape and place of each tensor.

    Raises:
        ValueError: it is no such file, or has no such tensor.
        struct.error: it is shorter than eight bytes.
    """
    (length,) = _HEADER.unpack_from(data)
    start = _HEADER.size + length
    header = decode(data[_HEADER.size : start])
    tensor = header.get(key) if isinstance(header, dict) else None
    if not isinstance(tensor, dict) or tensor.get("dtype") not in _CODES:
        raise ValueError("no tensor of integers")
    first, last = _sizes(tensor.get("data_offsets"))
    values = array(_CODES[tensor["dtype"]])
    values.frombytes(data[start + first : start + last])
    if sys.byteorder == "big":
        values.byteswap()
    if len(values) != math.prod(_sizes(tensor.get("shape"))):
        raise ValueError("another size")
    return values


def _sizes(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("no sizes")
    return value
