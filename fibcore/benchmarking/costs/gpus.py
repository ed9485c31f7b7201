"""GPUs and what their data sheets say: one record each, in one table.

Rates are those of dense matrices: data sheets that give rates "with sparsity" give twice as much.
They hold at the boost clock that the sheet was computed with; devices run faster for a while, and
sheets round what memory does down. What no honest time is below follows from the highest clocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from fibcore.errors import UsageError, nearest

TERA = 10**12
MIB = 2**20


@attrs.frozen
class Gpu:
    """A GPU.

    Attributes:
        name: What it is called here: "H100".
        title: Its whole name.
        flops: Dtype to operations a second of dense matrices whose elements have it. float32 has
            the rate of TF32: products of float32 numbers can be made of several of shorter ones
            on tensor cores, at less than that.
        bandwidth: Bytes a second between memory and chip.
        clock_headroom: The highest clock of a device over the one that the rates hold at.
        memory_headroom: What memory moves at its highest clock over the bandwidth of the sheet.
        cache: Bytes of the last cache on the chip. What an earlier call left there need not be read
            again.
        device: What the names of its devices look like, a regular expression.
        source: Where the numbers are from.
        note: What to know of them; "" for nothing.
    """

    name: str
    title: str
    flops: Mapping[str, float]
    bandwidth: float
    clock_headroom: float
    memory_headroom: float
    cache: int
    device: str
    source: str
    note: str = ""

    def rate(self, dtype: str) -> float:
        """Operations a second in a dtype; the highest rate for one that the table lacks."""
        return self.flops.get(dtype) or max(self.flops.values())


def _rates(tf32: float, half: float, eighth: float, **more: float) -> Mapping[str, float]:
    """Rates by dtype, of tera operations a second."""
    rates = {
        "float32": tf32,
        "float16": half,
        "bfloat16": half,
        "float8_e4m3fn": eighth,
        "float8_e5m2": eighth,
        "int8": eighth,
        **more,
    }
    return MappingProxyType({dtype: rate * TERA for dtype, rate in rates.items()})


_HOPPER = _rates(494.7, 989.4, 1978.9)

GPUS = (
    Gpu(
        name="H100",
        title="NVIDIA H100 SXM",
        flops=_HOPPER,
        bandwidth=3.35 * TERA,
        clock_headroom=1980 / 1830,
        memory_headroom=2 * 2619e6 * 5120 / 8 / (3.35 * TERA),
        cache=50 * MIB,
        device=r"\bH100 (?!PCIe|NVL)[0-9]+GB\b|\bH100 SXM",
        source="rates and last cache: white paper NVIDIA H100 Tensor Core GPU Architecture, H100 "
        "SXM5; memory bandwidth: NVIDIA H100 data sheet, H100 SXM; highest clocks, 1980 MHz and "
        "2619 MHz of memory that is 5120 bits wide: as CUDA reports them on a device",
    ),
    Gpu(
        name="H200",
        title="NVIDIA H200 SXM",
        flops=_HOPPER,
        bandwidth=4.8 * TERA,
        clock_headroom=1980 / 1830,
        memory_headroom=2 * 3201e6 * 6016 / 8 / (4.8 * TERA),
        cache=60 * MIB,
        device=r"\bH200(?! ?NVL)\b",
        source="rates: NVIDIA H200 Tensor Core GPU data sheet, H200 SXM, which has those of H100 "
        "SXM; memory bandwidth: the same; last cache and highest clocks, 1980 MHz and 3201 MHz of "
        "memory that is 6016 bits wide: as CUDA reports them on a device",
    ),
    Gpu(
        name="B200",
        title="NVIDIA B200",
        flops=_rates(1125, 2250, 4500, float4_e2m1=9000),
        bandwidth=8 * TERA,
        clock_headroom=1.1,
        memory_headroom=1.1,
        cache=126 * MIB,
        device=r"\bB200\b",
        source="rates: NVIDIA HGX B200 data sheet, an eighth of its eight GPUs; memory bandwidth: "
        "NVIDIA DGX B200 data sheet, an eighth of 64 TB/s; last cache: from no sheet; highest "
        "clocks were not read on a device: a tenth is allowed for them",
        note="from data sheets alone: no time measured on one was held against it",
    ),
)
"""The GPUs that floors are given for where none is named."""

MI300X = Gpu(
    name="MI300X",
    title="AMD Instinct MI300X",
    flops=_rates(653.7, 1307.4, 2614.9, float8_e4m3fnuz=2614.9),
    bandwidth=5.3 * TERA,
    clock_headroom=1.1,
    memory_headroom=1.1,
    cache=256 * MIB,
    device=r"\bMI300X\b",
    source="AMD Instinct MI300X accelerator data sheet: peak rates of matrices, memory bandwidth "
    "and last cache; highest clocks were not read on a device: a tenth is allowed for them",
    note="from data sheets alone: no time measured on one was held against it",
)

BY_NAME = {gpu.name: gpu for gpu in (*GPUS, MI300X)}
"""All records by name."""

_ALSO = {"MI300": "MI300X"}
"""What SGLang's facts call an architecture, and its GPU."""


def gpu_called(name: str) -> Gpu:
    """A GPU by its name, in any case.

    Raises:
        UsageError: there is none of this name.
    """
    gpu = BY_NAME.get(_ALSO.get(name.upper(), name.upper()))
    if gpu is None:
        near = nearest(name.upper(), BY_NAME)
        raise UsageError(
            "unknown GPU",
            where="--gpu",
            expected=" or ".join(near or BY_NAME),
            found=name,
        )
    return gpu


def gpu_of_device(device: str) -> Gpu | None:
    """The GPU whose device has this name, `NVIDIA H100 80GB HBM3`; None where none has.

    Benchmarks write blanks as underscores too.
    """
    words = device.replace("_", " ")
    return next((gpu for gpu in BY_NAME.values() if re.search(gpu.device, words)), None)
