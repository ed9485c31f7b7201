"""Whether a ground truth can run here, and what it returns."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from fibcore.verification.emitted.errors import GroundTruthUnavailableError
from fibcore.verification.emitted.sglang_package import find_sglang
from fibcore.verification.emitted.sglang_source import SGLangSource

# What FlashInfer says where it would have to compile a kernel and cannot.
NOT_COMPILED = ("Ninja build failed", "Could not find nvcc", "JIT compilation is disabled")


def why_unavailable(truth: Mapping[str, Any], device: torch.device, sglang: str | None) -> str:
    """Why a ground truth cannot run here, as far as is known before it runs; "" if it can."""
    if truth["device"] == "cuda":
        if device.type != "cuda":
            there = torch.cuda.is_available()
            return "needs CUDA: " + ("run with --device cuda" if there else "no GPU was found")
        have = torch.cuda.get_device_capability(device)
        low, high = truth["min_capability"], truth["max_capability"]
        if (low and have < tuple(low)) or (high and have > tuple(high)):
            ends = [f"sm{c[0]}{c[1]}" if c else "any" for c in (low, high)]
            return (
                f"needs compute capability {ends[0]} to {ends[1]}, "
                f"{torch.cuda.get_device_name(device)} has sm{have[0]}{have[1]}"
            )
    for package in truth["packages"]:
        reason = _why_not_importable(package)
        if reason:
            return reason
    if truth["kind"] == "sglang":
        found, reason = find_sglang(sglang)
        return "" if found else reason
    return ""


@functools.cache
def _why_not_importable(package: str) -> str:
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        return f"the package {package} is not installed"
    try:
        importlib.import_module(package)
    except Exception as error:  # noqa: BLE001  (whatever a package raises is the reason to give)
        return f"the package {package} cannot be imported: {type(error).__name__}: {error}"
    return ""


@functools.cache
def _package_versions(packages: tuple[str, ...]) -> str:
    distributions = importlib.metadata.packages_distributions()
    names = dict.fromkeys(d for p in packages for d in distributions.get(p.partition(".")[0], ()))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _lacks_name(error: NameError) -> bool:
    """Whether a function of SGLang's source, and not the ground truth around it, lacks a name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "__sglang__" in trace.tb_frame.f_globals


def _why_not_runnable(error: Exception, version: str) -> str | None:
    """Why a ground truth that raised could not do it here; None where it should have."""
    if isinstance(error, (GroundTruthUnavailableError, NotImplementedError, ImportError)):
        return str(error) or type(error).__name__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "it needs more memory than this GPU has"
    if type(error) is NameError and _lacks_name(error):
        return f"{version}: {error}"
    if isinstance(error, FileNotFoundError) or any(text in str(error) for text in NOT_COMPILED):
        return f"its kernel cannot be compiled here: {str(error).strip().splitlines()[0]}"
    return None


def run_ground_truth(
    module: ModuleType, truth: Mapping[str, Any], inputs: Mapping[str, Any], sglang: str | None
) -> tuple[Any, dict[str, Any]]:
    """What a ground truth returns, and who it was: name, kind, version, source files.

    Raises:
        GroundTruthUnavailableError: it cannot run here after all.
        AssertionError: it raised; nothing was compared.
    """
    __tracebackhide__ = True
    who: dict[str, Any] = {"name": truth["name"], "kind": truth["kind"]}
    arguments: list[Any] = []
    if truth["kind"] == "sglang":
        package, reason = find_sglang(sglang)
        if package is None:
            raise GroundTruthUnavailableError(reason)
        loader = SGLangSource(package)
        arguments.append(loader)
        who.update(version=f"sglang {loader.version}", files=loader.files)
    else:
        own = truth["packages"] and _package_versions(tuple(truth["packages"]))
        who["version"] = own or f"torch {torch.__version__}"
    try:
        result = getattr(module, truth["entry"])(*arguments, **inputs)
    except Exception as error:
        obstacle = _why_not_runnable(error, who["version"])
        if obstacle is not None:
            raise GroundTruthUnavailableError(obstacle) from None
        raise AssertionError(
            f"the ground truth {truth['name']} raised {type(error).__name__}: {error}\n"
            "  nothing was compared"
        ) from error
    who["files"] = dict(sorted(who["files"].items())) if "files" in who else {}
    return result, who
