"""The device that references run on, and what evidence says of the machine."""

from __future__ import annotations

import functools
import platform
from typing import Any

import pytest
import torch

from fibcore.verification.emitted.options import option


def device_of(config: pytest.Config) -> tuple[torch.device, str | None]:
    """The device to run on and, where there is none, the reason."""
    wanted = option(config, "--device", "auto")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        return torch.device("cpu"), "--device cuda, but torch finds no CUDA GPU on this machine"
    return torch.device(wanted), None


@functools.cache
def machine(device: torch.device) -> dict[str, Any]:
    """Device and software, for evidence; nothing that tells one host of a kind from another."""
    about: dict[str, Any] = {"type": device.type, "name": f"CPU ({platform.machine()})"}
    software = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.system(),
    }
    if device.type == "cuda":
        about["name"] = torch.cuda.get_device_name(device)
        about["capability"] = list(torch.cuda.get_device_capability(device))
        software["cuda"] = str(torch.version.cuda)
    return {"device": about, "software": software}
