"""Chooses the implementations that block-sparse attention is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_msa.definitions import BLOCKS, kind_of
from fibcore_op_msa.names import STEMS


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """Torch in float64, written another way.

    Kernels of FlashInfer (`flashinfer.msa_ops`) need Blackwell, and keys without pages. Empty for a
    definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    constants: dict[str, object] = {"BLOCK_SIZE": definition.const_axes["block_size"]}
    if kind == "indexer":
        lines = dict(line.partition(" = ")[::2] for line in definition.reference.splitlines())
        if not {name.upper() for name in BLOCKS} <= lines.keys():
            return ()  # nothing that is known to compute the same
        constants |= {name.upper(): int(lines[name.upper()]) for name in BLOCKS}
        constants["TOPK"] = definition.const_axes["topk"]
    entry = f"torch_{STEMS[kind]}"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return (GroundTruth("torch in float64", "torch", entry, render(text, constants)),)
