"""Tensors of workloads as safetensors files below `blob/`."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset.layout import blob_folder
from fibcore.extras import need
from fibcore.model.definition import Definition
from fibcore.model.dtypes import TABLE

if TYPE_CHECKING:
    import numpy as np

_OWN = re.compile(r"[A-Za-z_]\w*-[0-9a-f]{16}\.safetensors")


@attrs.frozen
class Blob:
    """A tensor of a workload, ready to be written.

    Attributes:
        path: Its file, relative to the dataset. Its content decides its name, so that workloads
            that have the same tensor share the file.
        key: The tensor's name in the file.
        data: The file.
    """

    path: str
    key: str
    data: bytes


def is_own(name: str) -> bool:
    """Whether a file of this name was written by fibcore."""
    return _OWN.fullmatch(name) is not None


def encode(definition: Definition, name: str, array: object, shape: tuple[int, ...] | None) -> Blob:
    """The blob of the input `name`, rounded to the definition's dtype.

    Raises:
        ValueError: it is no NumPy array of this shape, or does not fit the dtype.
    """
    need("bench", "tensors of workloads")
    import numpy as np
    from safetensors.numpy import save

    dtype = definition.inputs[name].dtype
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is {type(array).__name__}, not a NumPy array")
    if shape is None or array.shape != shape:
        raise ValueError(f"{name} has the shape {list(array.shape)}, not {shape and list(shape)}")
    rounded = _rounded(name, array, dtype)
    data = save({name: np.ascontiguousarray(rounded)})
    digest = hashlib.sha256(data).hexdigest()[:16]
    return Blob(f"{blob_folder(definition)}/{name}-{digest}.safetensors", name, data)


def _rounded(name: str, array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    import numpy as np

    floating = TABLE[dtype].kind == "float"
    wanted = TABLE[dtype].numpy()
    if wanted is None:
        raise ValueError(f"{name} is {dtype}, of which no tensor can be written")
    if floating != np.issubdtype(array.dtype, np.floating) and array.dtype != wanted:
        raise ValueError(f"{name} is {array.dtype}, the definition has {dtype}")
    if floating:
        rounded = array.astype(wanted)
        if not np.isfinite(rounded.astype(np.float32)).all():
            raise ValueError(f"{name} holds numbers that {dtype} does not have")
        return rounded
    if (array.astype(wanted) != array).any():
        raise ValueError(f"{name} holds numbers that {dtype} does not have")
    return array.astype(wanted)
