"""Chooses the implementations that an embedding is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_embedding.definitions import has_known_tensors
from fibcore_op_embedding.names import OP_TYPE, PART, SCALED


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's PyTorch functions, then torch; FlashInfer has no embedding.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    if definition.op_type != OP_TYPE or not has_known_tensors(definition):
        return ()
    if tuple(definition.inputs) == SCALED:
        name = "sglang Gemma3TextScaledWordEmbedding.forward"
        return (
            _truth(name, "sglang", prefix="scaled_"),
            _truth("torch.nn.functional.embedding", "torch", prefix="scaled_"),
        )
    part = "vocab_parallel_" * (tuple(definition.inputs) == PART)
    sglang = "UnquantizedEmbeddingMethod.embedding"
    return (
        _truth(
            f"sglang {'get_masked_input_and_mask, ' * bool(part)}{sglang}", "sglang", prefix=part
        ),
        _truth("torch.nn.functional.embedding", "torch", prefix=part),
    )


def _truth(name: str, kind: str, *, prefix: str) -> GroundTruth:
    """The ground truth whose function is called after its kind."""
    entry = f"{kind}_{prefix}embedding"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return GroundTruth(name, kind, entry, text)
