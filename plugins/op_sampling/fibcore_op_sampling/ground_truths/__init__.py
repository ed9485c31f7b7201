"""Chooses the implementations that a definition is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, named_after
from fibcore_op_sampling.definitions import is_joint
from fibcore_op_sampling.names import SOFTMAX, TOP_K_TOP_P, kind_of

# What SGLang's backend `pytorch` has a function for, with its name.
_NATIVE = "top_k_top_p_min_p_sampling_from_probs_torch"
_SGLANG = {
    "top_k_sampling_from_probs": _NATIVE,
    "top_p_sampling_from_probs": _NATIVE,
    "min_p_sampling": _NATIVE,
    "sampling_from_probs": "sampling_from_probs_torch",
    "top_p_renorm_probs": "top_p_normalize_probs_torch",
}


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel, SGLang's PyTorch function where there is one, then torch.

    Empty where the definition is another function, and for the op types of other plugins.
    """
    kind = kind_of(definition)
    if kind is None or tuple(definition.inputs) != kind.inputs:
        return ()
    joint = kind.stem == TOP_K_TOP_P and is_joint(definition)
    suffix = kind.stem + "_joint" * joint
    dtype = {"DTYPE": kind.dtype}
    order = {**dtype, "JOINT": joint}
    entry, source = _source("flashinfer_sampling", suffix, {**order, "FUNCTION": kind.function})
    found = [
        GroundTruth(
            name=f"flashinfer.sampling.{kind.function}" + " (joint)" * joint,
            kind="flashinfer",
            entry=entry,
            source=source,
            device="cuda",
            min_capability=(8, 0),
            packages=("flashinfer",),
        )
    ]
    native = _NATIVE if joint else _SGLANG.get(kind.stem)
    if native:
        entry, source = _source("sglang_sampling", suffix, {**dtype, "FUNCTION": native})
        found.append(GroundTruth(f"sglang {native}", "sglang", entry, source))
    if kind.stem == SOFTMAX:
        text = (files(__package__) / "torch_softmax.py").read_text(encoding="utf-8")
        found.append(GroundTruth("torch.softmax in float64", "torch", "torch_softmax", text))
    else:
        entry, source = _source("torch_sampling", suffix, order)
        found.append(GroundTruth("torch, a row at a time", "torch", entry, source))
    return tuple(found)


def _source(stem: str, suffix: str, constants: Mapping[str, object]) -> tuple[str, str]:
    """Entry and text of a ground truth with these constants; the suffix is in all its names."""
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    return f"{stem}_{suffix}", named_after(text, stem, suffix, constants)
