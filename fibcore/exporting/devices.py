"""GPUs by the names that their drivers report, which the file names of tuned configs hold."""

from __future__ import annotations

from collections.abc import Iterable

from fibcore.ops.exports import Device

# As the files in SGLang's and vLLM's folders of tuned configs name them.
_REPORTED = {
    "A100": "NVIDIA A100-SXM4-80GB",
    "H20": "NVIDIA H20",
    "H100": "NVIDIA H100 80GB HBM3",
    "H200": "NVIDIA H200",
    "B200": "NVIDIA B200",
    "MI300X": "AMD Instinct MI300X",
    "MI325X": "AMD Instinct MI325X",
}

KNOWN = tuple(Device(name, reported) for name, reported in _REPORTED.items())
"""GPUs with a short name."""

USUAL = tuple(device for device in KNOWN if device.name in ("H100", "H200", "B200", "MI300X"))
"""Those that are meant where none is named."""


def devices(names: Iterable[str]) -> tuple[Device, ...]:
    """The GPUs of these names; a name that is not known here is what a driver reports."""
    known = {device.name.lower(): device for device in KNOWN}
    found = (known.get(name.lower(), Device(name, name.replace("_", " "))) for name in names)
    return tuple(dict.fromkeys(found)) or USUAL
