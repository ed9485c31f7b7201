"""AMD's GPUs as aiter's lists of untuned kernels tell them apart."""

from __future__ import annotations

from collections.abc import Iterable

from fibcore.ops.exports import Device

# Of gfx950; those of gfx942 (MI300A, MI300X, MI308X, MI325X) have the older fp8 without infinities.
_OCP_FP8 = ("MI350", "MI355")


def amd_fp8(devices: Iterable[Device]) -> tuple[str, ...]:
    """The dtypes of fp8 e4m3 numbers on AMD's GPUs among these; an MI300X's where there are none.

    As `aiter.dtypes` chooses them by the architecture: "torch.float8_e4m3fnuz" on gfx942,
    "torch.float8_e4m3fn" on gfx950.
    """
    theirs = [device.reported for device in devices if "MI3" in device.reported] or ["MI300X"]
    found = (any(name in reported for name in _OCP_FP8) for reported in theirs)
    return tuple(dict.fromkeys("torch.float8_e4m3fn" + ("" if ocp else "uz") for ocp in found))
