"""Chooses the implementations that a write to a paged cache is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_move.definitions import layout_of
from fibcore_op_move.names import KINDS, OP_TYPE

# FlashInfer's kernel for latent caches is built for these sizes alone.
_LATENT = {"head_dim_ckv": 512, "head_dim_kpe": 64}


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's kernel, then torch's assignment to places.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    layout = layout_of(definition) if definition.op_type == OP_TYPE else None
    if layout is None:
        return ()
    kind = KINDS[layout]
    if layout == "mla_block_scale":
        return _scaled()
    # Assignment knows no sizes, so keys and values of two sizes have the function of one.
    of_torch = GroundTruth(
        name="torch.Tensor.index_put_",
        kind="torch",
        entry=f"torch_{kind.stem}",
        source=_text(f"torch_{kind.stem}"),
    )
    if not kind.api or (layout == "mla" and definition.const_axes != _LATENT):
        return (of_torch,)
    flashinfer = GroundTruth(
        name=kind.api,
        kind="flashinfer",
        entry=f"flashinfer_{kind.stem}",
        source=_text(f"flashinfer_{kind.stem}"),
        device="cuda",
        min_capability=(8, 0),
        packages=("flashinfer",),
    )
    return (flashinfer, of_torch)


def _scaled() -> tuple[GroundTruth, ...]:
    """SGLang's kernel in Triton, its function in torch in some releases, torch in float64."""
    file = f"sglang_{KINDS['mla_block_scale'].source}"
    text, triton = _text(file), f"{file}_triton"
    last = f"torch_{KINDS['mla_block_scale'].source}"
    return (
        GroundTruth(
            name="sglang quantize_k_cache (Triton)",
            kind="sglang",
            entry=triton,
            source=_text(triton),
            device="cuda",
            min_capability=(8, 9),  # of numbers in float8_e4m3fn
            packages=("triton",),
        ),
        GroundTruth(name="sglang _quantize_k_cache_ref", kind="sglang", entry=file, source=text),
        GroundTruth(name="torch in float64", kind="torch", entry=last, source=_text(last)),
    )


def _text(entry: str) -> str:
    return (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
