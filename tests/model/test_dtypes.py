"""The table of dtypes: what each record says agrees with the libraries that it names."""

from __future__ import annotations

import numpy as np
import pytest

from fibcore.model.dtypes import DTYPES, TABLE, WEIGHT_DTYPES, Dtype


def test_names_in_the_order_in_which_errors_list_them() -> None:
    assert (
        *("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1"),
        *("int64", "int32", "int16", "int8", "bool"),
    ) == DTYPES
    assert (*DTYPES, "float8_e4m3fnuz", "int4", "uint4", "uint8") == WEIGHT_DTYPES


@pytest.mark.parametrize("dtype", TABLE.values(), ids=TABLE)
def test_storage(dtype: Dtype) -> None:
    for package in ("numpy", "ml_dtypes", "safetensors"):  # the extra `bench`
        pytest.importorskip(package, reason=f"{package} is not installed")
    stored = dtype.numpy()
    if stored is None:
        assert dtype.bits == 4
    else:
        assert stored.itemsize * 8 == dtype.bits
        assert stored.name == dtype.name
        kinds = {"int": "iu", "bool": "b", "float": "fV"}  # ml_dtypes calls its own kind V
        assert stored.kind in kinds[dtype.kind]


@pytest.mark.parametrize("dtype", TABLE.values(), ids=TABLE)
def test_torch(dtype: Dtype) -> None:
    torch = pytest.importorskip("torch", reason="torch says how it names dtypes")
    if dtype.torch is None:
        return
    if dtype.torch == "float4_e2m1fn_x2" and not hasattr(torch, dtype.torch):
        pytest.skip("this torch has no float4")
    assert getattr(torch, dtype.torch).is_floating_point == (dtype.kind == "float")


@pytest.mark.parametrize("dtype", [d for d in TABLE.values() if d.storage], ids=lambda d: d.name)
def test_safetensors(dtype: Dtype) -> None:
    save = pytest.importorskip("safetensors.numpy").save
    data = save({"x": np.zeros(2, dtype=dtype.numpy())})
    assert f'"dtype":"{dtype.safetensors}"'.encode() in data
