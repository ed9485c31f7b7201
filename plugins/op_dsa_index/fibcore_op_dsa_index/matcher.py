"""Finds what index queries and keys of sparse attention go through, by what the indexer settled on.

SGLang's `Indexer` says in an attribute that it hands its norm and its table of angles to kernels
that do more at once. Keys are stored at the norm, which has no kernel of its own then; queries go
through theirs at the indexer.
"""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Scalar,
    Serving,
    UndecidedError,
    decided,
    decided_size,
    fact,
    kernels_of_indexer,
)
from fibcore_op_dsa_index.names import KINDS, PAGE_SIZE, SCALE_BYTES, KindName

_NORM = "k_norm"
_LAYER_NORM = "sglang.srt.layers.layernorm.LayerNorm"


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The kernels of `tree`, with what runs each; all ranks run the same."""
    found = KernelCollector(lenient=("weight_scale", "eps"))
    for node in tree.walk():
        norm = node.children.get(_NORM)
        if norm is None:
            continue
        try:
            functions = kernels_of_indexer(norm, tree) or ()
            if KINDS["q"].function in functions:
                found.add(_query(node), node)
            if KINDS["k_store"].function in functions:
                _add_store(node, norm, found)
        except UndecidedError as why:
            found.problem("index queries and keys", str(why), node)
    return found.finish()


def _add_store(indexer: ModuleNode, norm: ModuleNode, found: KernelCollector) -> None:
    function = KINDS["k_store"].function
    if norm.cls != _LAYER_NORM:
        reason = "no definition has keys that go through another norm than LayerNorm"
        found.not_covered(f"{norm.class_name} inside {function}", reason, norm, inside=True)
        return
    head, rope = _sizes(indexer)
    eps = decided(norm.argument("eps"), "eps")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise UndecidedError(f"eps is {eps!r}, not a small number")
    facts = {
        **_facts(indexer, head, rope),
        "page_size": fact(
            PAGE_SIZE, indexer, "tokens in a page of index keys, the only size on NVIDIA GPUs"
        ),
        "kv_cache_num_heads": fact(1, indexer, "all index heads share a key"),
        "head_dim_with_scale": fact(
            head + SCALE_BYTES, indexer, "bytes of a key in fp8 and its float32 scale", head
        ),
    }
    found.add(_kernel("k_store", facts, {"eps": fact(eps, norm, "below the root")}), norm)


def _query(indexer: ModuleNode) -> Kernel:
    """The kernel of an indexer's queries.

    Raises:
        UndecidedError: a size, or the factor of the weights, is not known.
    """
    head, rope = _sizes(indexer)
    heads = decided_size(indexer.argument("index_n_heads"), "index_n_heads")
    scale = decided(indexer.attributes.get("softmax_scale"), "softmax_scale")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale > 0:
        raise UndecidedError(f"softmax_scale is {scale!r}, not a positive number")
    facts = {
        "num_heads": fact(heads, indexer, "index heads; no rank has a part of them"),
        **_facts(indexer, head, rope),
    }
    factor = fact(
        float(scale * heads**-0.5), indexer, "softmax_scale / sqrt(index heads)", scale, heads
    )
    return _kernel("q", facts, {"weight_scale": factor})


def _sizes(indexer: ModuleNode) -> tuple[int, int]:
    """Elements of a key, and how many of them turn.

    Raises:
        UndecidedError: they are not known, or do not go together.
    """
    head = decided_size(indexer.argument("index_head_dim"), "index_head_dim")
    rope = decided_size(indexer.argument("rope_head_dim"), "rope_head_dim")
    if rope % 2 or rope > head:
        raise UndecidedError(f"{rope} elements of {head} do not turn in pairs")
    return head, rope


def _facts(indexer: ModuleNode, head: int, rope: int) -> dict[str, Fact]:
    return {
        "head_dim": fact(head, indexer, "elements of an index query and key"),
        "rope_dim": fact(rope, indexer, "first elements, which turn"),
    }


def _kernel(name: KindName, facts: Mapping[str, Fact], more: Mapping[str, Fact]) -> Kernel:
    kind, every = KINDS[name], {**facts, **more}
    parameters: dict[str, Scalar] = {"kind": name, **{n: f.value for n, f in every.items()}}
    return Kernel(
        op_type=kind.op_type,
        name=kind.name({axis: int(facts[axis].value) for axis in kind.sizes.values()}),
        parameters=parameters,
        facts=every,
        uses=(),
        tags=("stage:indexer", "quantization:float8_e4m3fn"),
    )
