"""The dtypes that definitions and quantisation tags name: one record each, in one table.

A new dtype is one line of `TABLE`. The emitted tests have tolerances of their own by dtype, since
they run without fibcore.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from fibcore.extras import need

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["float", "int", "bool"]


@attrs.frozen
class Dtype:
    """A dtype and its names elsewhere.

    Attributes:
        name: Its name in definitions and tags, `float8_e4m3fn`.
        bits: Bits that an element takes on a device.
        kind: "float", "int" or "bool".
        safetensors: Its tag in safetensors files; None where those have none.
        torch: Its name in torch; None where torch has none. `float4_e2m1fn_x2` holds two elements.
        storage: The package that stores its elements in NumPy arrays under the same name, "numpy"
            or "ml_dtypes"; None where neither does, so that fibcore writes no such tensor.
        tensor: Whether a tensor of a definition may have it; the others are formats of weights,
            which tags name alone.
    """

    name: str
    bits: int
    kind: Kind
    safetensors: str | None
    torch: str | None
    storage: Literal["numpy", "ml_dtypes"] | None
    tensor: bool = True

    def numpy(self) -> np.dtype[Any] | None:
        """The NumPy dtype that holds its elements; None where there is none.

        Raises:
            MissingPackageError: the extra `bench` is not installed.
        """
        need("bench", "dtypes of tensors", "ml_dtypes", "numpy")
        import numpy as np

        if self.storage == "ml_dtypes":
            import ml_dtypes

            extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.name))
            return extended
        return None if self.storage is None else np.dtype(self.name)


_TABLE = (
    Dtype("float32", 32, "float", "F32", "float32", "numpy"),
    Dtype("float16", 16, "float", "F16", "float16", "numpy"),
    Dtype("bfloat16", 16, "float", "BF16", "bfloat16", "ml_dtypes"),
    Dtype("float8_e4m3fn", 8, "float", "F8_E4M3", "float8_e4m3fn", "ml_dtypes"),
    Dtype("float8_e5m2", 8, "float", "F8_E5M2", "float8_e5m2", "ml_dtypes"),
    Dtype("float4_e2m1", 4, "float", "F4", "float4_e2m1fn_x2", None),
    Dtype("int64", 64, "int", "I64", "int64", "numpy"),
    Dtype("int32", 32, "int", "I32", "int32", "numpy"),
    Dtype("int16", 16, "int", "I16", "int16", "numpy"),
    Dtype("int8", 8, "int", "I8", "int8", "numpy"),
    Dtype("bool", 8, "bool", "BOOL", "bool", "numpy"),
    Dtype(
        "float8_e4m3fnuz", 8, "float", "F8_E4M3FNUZ", "float8_e4m3fnuz", "ml_dtypes", tensor=False
    ),
    Dtype("int4", 4, "int", None, None, None, tensor=False),
    Dtype("uint4", 4, "int", None, None, None, tensor=False),
    Dtype("uint8", 8, "int", "U8", "uint8", "numpy", tensor=False),
)

TABLE: Mapping[str, Dtype] = MappingProxyType({dtype.name: dtype for dtype in _TABLE})
"""All dtypes by name."""

DTYPES = tuple(dtype.name for dtype in _TABLE if dtype.tensor)
"""Names of the dtypes that a tensor of a definition may have."""

WEIGHT_DTYPES = tuple(TABLE)
"""Names that the tag `quantization:` may have; more than what a tensor of a definition may have."""
