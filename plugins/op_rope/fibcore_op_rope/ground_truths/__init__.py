"""Chooses the implementations that a rotary position embedding is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, named_after
from fibcore_op_rope.definitions import has_known_tensors, style_of
from fibcore_op_rope.names import API, NEOX, OP_TYPE

_HEAD_SIZES = (64, 128, 256, 512)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel where it has one, SGLang's PyTorch method, and torch.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    if definition.op_type != OP_TYPE or not has_known_tensors(definition):
        return ()
    style = style_of(definition)
    found = []
    if _flashinfer_has_it(definition, style):
        entry, source = _source("flashinfer_rope", style)
        found.append(
            GroundTruth(
                name=API,
                kind="flashinfer",
                entry=entry,
                source=source,
                device="cuda",
                min_capability=(8, 0),
                packages=("flashinfer",),
            )
        )
    entry, source = _source("sglang_rope", style)
    found.append(GroundTruth("sglang RotaryEmbedding.forward_native", "sglang", entry, source))
    entry, source = _source("torch_rope", style)
    found.append(GroundTruth("torch.view_as_complex", "torch", entry, source))
    return tuple(found)


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


def _source(stem: str, style: str) -> tuple[str, str]:
    """Entry and text of a ground truth for this style.

    An entry gets the inputs alone, and definitions of both styles share a test module: so the style
    is in the text, and in the names.
    """
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    constants = {"IS_NEOX": style == NEOX}
    return f"{stem}_{style}", named_after(text, stem, style, constants)
