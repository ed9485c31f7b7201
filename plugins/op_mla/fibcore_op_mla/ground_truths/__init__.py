"""Chooses the implementations that a definition of latent attention is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_mla.definitions import kind_of
from fibcore_op_mla.names import KINDS, OWN_OP_TYPES, Kind, flashinfer_has


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer where it has the head sizes, then SGLang's torch-native attention.

    Of FlashInfer's two backends the one for Hopper comes first, which FlashInfer itself prefers
    there. Empty for a definition whose tensors or name show another function than this plugin's,
    and for another plugin's op types.
    """
    if definition.op_type not in OWN_OP_TYPES:
        return ()
    kind = kind_of(definition)
    if kind is None:
        return ()
    axes = definition.const_axes
    dims = ("qk_dim", "vo_dim") if kind == "ragged" else ("head_dim_ckv", "head_dim_kpe")
    found = []
    if flashinfer_has(kind, axes[dims[0]], axes[dims[1]]):
        # wgmma, which the fa3 kernels use, is Hopper's alone; fa2 needs bfloat16 tensor cores.
        found.append(_flashinfer(definition, kind, "fa3", (9, 0), (9, 0)))
        found.append(_flashinfer(definition, kind, "fa2", (8, 0), None))
    found.append(
        GroundTruth(
            name=KINDS[kind].sglang,
            kind="sglang",
            entry=f"sglang_{definition.op_type}",
            source=_source(f"sglang_{definition.op_type}"),
        )
    )
    return tuple(found)


def _flashinfer(
    definition: Definition,
    kind: Kind,
    backend: str,
    least: tuple[int, int],
    most: tuple[int, int] | None,
) -> GroundTruth:
    return GroundTruth(
        name=f"{KINDS[kind].flashinfer} ({backend})",
        kind="flashinfer",
        entry=f"flashinfer_{definition.op_type}_{backend}",
        source=_source(f"flashinfer_{definition.op_type}"),
        device="cuda",
        min_capability=least,
        max_capability=most,
        packages=("flashinfer",),
    )


def _source(stem: str) -> str:
    return (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
