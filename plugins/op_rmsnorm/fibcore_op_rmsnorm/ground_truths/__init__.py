"""Chooses the implementations that an RMSNorm definition is compared with."""

from __future__ import annotations

import re
from importlib.resources import files

from fibcore.plugin import Definition, DefinitionError, GroundTruth, render
from fibcore_op_rmsnorm.definitions import epsilon, variant
from fibcore_op_rmsnorm.names import GEMMA, INPUTS, OP_TYPE


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel, then SGLang's PyTorch method.

    Empty where the definition is another function of the folder (quantised output, layer norm) or
    does not say its epsilon, and for another plugin's op types.
    """
    if definition.op_type != OP_TYPE or len(definition.outputs) != 1:
        return ()
    if set(definition.inputs) not in map(set, INPUTS):
        return ()
    try:
        eps = epsilon(definition)
    except DefinitionError:
        return ()
    narrow = all(spec.dtype != "float32" for spec in definition.inputs.values())
    gemma = variant(definition) == GEMMA
    prefix = "gemma_" if gemma else ""
    kernel = prefix + ("fused_add_rmsnorm" if "residual" in definition.inputs else "rmsnorm")
    layer = "GemmaRMSNorm" if gemma else "RMSNorm"
    entry, source = _source(f"flashinfer_{prefix}rmsnorm", eps)
    native_entry, native_source = _source(f"sglang_{prefix}rmsnorm", eps)
    native = GroundTruth(
        name=f"sglang {layer}.forward_native",
        kind="sglang",
        entry=native_entry,
        source=native_source,
    )
    if not narrow:  # FlashInfer's kernels are for activations of 16 bits
        return (native,)
    return (
        GroundTruth(
            name=f"flashinfer.norm.{kernel}",
            kind="flashinfer",
            entry=entry,
            source=source,
            device="cuda",
            min_capability=(8, 0),
            packages=("flashinfer",),
        ),
        native,
    )


def _source(stem: str, eps: float) -> tuple[str, str]:
    """Entry and text of a ground truth for this epsilon.

    An entry gets the inputs alone, and definitions of several epsilons share a test module: so the
    epsilon is in the text, and in the names.
    """
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    constant = stem.upper() + "_EPSILON"
    text = render(text, {constant: eps})
    suffix = "_" + re.sub(r"\W", "_", f"{eps:g}")
    entry = stem + suffix
    text = re.sub(rf"\b{stem}\b", entry, text)
    return entry, re.sub(rf"\b{constant}\b", constant + suffix.upper(), text)
