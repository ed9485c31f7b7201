"""Chooses the implementations that a rotary position embedding is compared with."""

from __future__ import annotations

from importlib.resources import files

import attrs

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_rope.definitions import (
    gives_angles,
    has_known_tensors,
    has_rows,
    has_sections,
    sections_of,
    style_of,
)
from fibcore_op_rope.names import API, NEOX, OP_TYPE

_HEAD_SIZES = (64, 128, 256, 512)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel where it has one, SGLang's PyTorch method, and torch.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    if definition.op_type != OP_TYPE:
        return ()
    if gives_angles(definition):
        entry = "rotary_cos_sin"
        return (
            _truth("sglang Gemma3RotaryEmbedding.forward", "sglang", entry=f"sglang_{entry}"),
            _truth("torch.polar", "torch", entry=f"torch_{entry}"),
        )
    if has_rows(definition):
        return (
            _truth("sglang apply_rotary_pos_emb_native", "sglang", entry="sglang_rope_rows"),
            _truth("torch.roll", "torch", entry="torch_rope_rows"),
        )
    if not has_known_tensors(definition):
        return ()
    style = style_of(definition)
    if has_sections(definition):
        return _of_sections(definition, style)
    found = [
        _truth("sglang RotaryEmbedding.forward_native", "sglang", style),
        _truth("torch.view_as_complex", "torch", style),
    ]
    if _flashinfer_has_it(definition, style):
        kernel = attrs.evolve(
            _truth(API, "flashinfer", style),
            device="cuda",
            min_capability=(8, 0),
            packages=("flashinfer",),
        )
        found.insert(0, kernel)
    return tuple(found)


def _of_sections(definition: Definition, style: str) -> tuple[GroundTruth, ...]:
    """Those of several positions a token; none where it is not known which turns what."""
    sections = sections_of(definition)
    if not sections:
        return ()
    constants: dict[str, object] = {
        "IS_NEOX": style == NEOX,
        "SECTIONS": tuple(int(part) for part in sections if part.isdigit()),
        "INTERLEAVED": "interleaved" in sections,
    }
    return tuple(
        GroundTruth(name, kind, entry, render(files(__package__) / f"{entry}.py", constants))
        for name, kind, entry in (
            ("sglang MRotaryEmbedding.forward_native", "sglang", "sglang_mrope"),
            ("torch.view_as_complex, each position's pairs", "torch", "torch_mrope"),
        )
    )


def _flashinfer_has_it(definition: Definition, style: str) -> bool:
    """Whether FlashInfer's kernel is right for these sizes and dtypes.

    It has code for four head sizes. A thread takes 16 bytes of a head, or a 32nd of a larger one,
    and that part has to lie in one half of what is turned (neox), or in what is turned at all.
    (include/flashinfer/pos_enc.cuh, BatchQKApplyRotaryPosIdsCosSinCache)
    """
    head_size = definition.const_axes["head_size"]
    turned = definition.const_axes["rotary_dim"]
    dtypes = {definition.inputs[name].dtype for name in ("q", "k")}
    part = max(8, head_size // 32)
    return (
        head_size in _HEAD_SIZES
        and 0 < turned <= head_size
        and turned % (2 * part if style == NEOX else part) == 0
        and dtypes <= {"bfloat16", "float16"}
        and definition.inputs["cos_sin_cache"].dtype == "float32"
    )


def _truth(name: str, kind: str, style: str = "", entry: str = "") -> GroundTruth:
    """The ground truth whose function is called after its kind, with this style in its text."""
    entry = entry or f"{kind}_rope"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    constants = {"IS_NEOX": style == NEOX} if style else {}
    return GroundTruth(name, kind, entry, render(text, constants))
