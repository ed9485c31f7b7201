"""Finds the sampling kernels of a model: what SGLang's Sampler does with the logits of a step."""

from __future__ import annotations

import re
from typing import Any

from fibcore.plugin import (
    Alternatives,
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ModuleRef,
    ParameterRef,
    Serving,
    fact,
    with_origins,
)
from fibcore_op_sampling.names import JOINT, KINDS, OP_TYPE, ORDER, TOP_K_TOP_P, Kind, kernel_name

_LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"
_EMBEDDINGS = (
    "sglang.srt.layers.vocab_parallel_embedding.VocabParallelEmbedding",
    "torch.nn.modules.sparse.Embedding",
    "torch.nn.Embedding",
)
_HEAD = "sglang.srt.layers.vocab_parallel_embedding.ParallelLMHead"
# Where the vocabulary stands in the constructor of an embedding, a head, or a linear layer.
_SIZES = ("org_num_embeddings", "num_embeddings", "output_size", "out_features")
# Draft models of speculative decoding: their logits go to a top-k of the speculative worker.
_DRAFT = re.compile(r"nextn|mtp|eagle|dspark|dflash|medusa", re.IGNORECASE)
_JOINT_NOTE = (
    "SGLang calls FlashInfer with filter_apply_order='joint', in which top-p sees all tokens; "
    f"{ORDER.flag} joint has that"
)


class _Undecided(Exception):
    """The size of the vocabulary is not known."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """What the Sampler runs on the logits of `tree`; parallel sizes change nothing.

    A batch takes one of several ways, by what its requests ask for: softmax and a draw; softmax and
    one or both of top-k and top-p; softmax, top-k, top-p and min-p, one after the other. All are
    kernels of the model. Logits are those of the whole vocabulary on every rank.
    """
    found = KernelCollector()
    if _DRAFT.search(tree.architecture) or _DRAFT.search(tree.root.cls):
        return found.finish()
    for node in tree.walk():
        if node.is_a(_LOGITS) and node.calls:
            _match(tree, node, serving, found)
    return found.finish()


def _match(tree: ModelTree, node: ModuleNode, serving: Serving, found: KernelCollector) -> None:
    try:
        vocab_size, note, place = _vocabulary(tree, node)
    except _Undecided as why:
        found.problem("sampling kernels", str(why), node)
        return
    for kind in KINDS.values():
        found.add(_kernel(kind, vocab_size, note, place, serving), node)


def _kernel(kind: Kind, vocab_size: int, note: str, place: ModuleNode, serving: Serving) -> Kernel:
    ordered = kind.stem == TOP_K_TOP_P
    joint = ordered and serving.value(ORDER) == JOINT
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(kind.stem, int(vocab_size), joint=joint),
        parameters={"kind": kind.stem, "vocab_size": int(vocab_size), "joint": joint},
        facts={"vocab_size": fact(vocab_size, place, note)},
        uses=(),
        tags=(f"fi_api:flashinfer.sampling.{kind.function}",),
        notes=(_JOINT_NOTE,) if ordered and not joint else (),
    )


def _vocabulary(tree: ModelTree, node: ModuleNode) -> tuple[int, str, ModuleNode]:
    """Tokens of the logits, how they follow, and the module that says it.

    They are the rows of the matrix that the logits are computed with, without padding, cut to the
    vocabulary of the config where that is smaller.
    """
    heads = _heads(tree, node)
    sizes = {head.path: _rows(head) for head in heads}
    if not sizes:
        raise _Undecided("no call of it says which matrix makes the logits")
    if len({int(size) for size in sizes.values()}) > 1:
        listed = ", ".join(f"{size} of {path}" for path, size in sizes.items())
        raise _Undecided(f"the vocabulary is one of {listed}")
    head, rows = heads[0], sizes[heads[0].path]
    own = tree.config.get("vocab_size")
    if isinstance(own, int) and not isinstance(own, bool) and 0 < own < rows:
        cut = with_origins(int(own), frozenset({"config:vocab_size"}))
        return cut, f"logits of {int(rows)} rows are cut to it", head
    return rows, "rows of the matrix that makes the logits", head


def _heads(tree: ModelTree, node: ModuleNode) -> list[ModuleNode]:
    """The modules whose matrix the logits may be computed with, in the order of the calls."""
    paths: dict[str, None] = {}
    for call in node.calls:
        for value in (*call.args, *call.kwargs.values()):
            paths.update(dict.fromkeys(_paths(value)))
    found = [head for path in paths if (head := tree.find(path)) is not None and _has_rows(head)]
    if not found:
        found = [head for head in tree.walk() if head.is_a(_HEAD)]
    return found


def _paths(value: Any) -> list[str]:
    if isinstance(value, Alternatives):
        return [path for one in value.values for path in _paths(one)]
    if isinstance(value, ModuleRef):
        return [value.path]
    if isinstance(value, ParameterRef):
        return [value.path.rpartition(".")[0]]
    return []


def _has_rows(node: ModuleNode) -> bool:
    return node.is_a(*_EMBEDDINGS, _HEAD) or any(name in node.arguments for name in _SIZES[2:])


def _rows(head: ModuleNode) -> int:
    """The vocabulary that a head is for, without padding."""
    for name in _SIZES:
        value = head.argument(name)
        if value is None or (value == 0 and not isinstance(value, bool)):
            continue  # what SGLang takes for "as num_embeddings says"
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise _Undecided(f"{name} of {head.path} is {value}")
        return value
    raise _Undecided(f"{head.path} does not say how many rows it has")
