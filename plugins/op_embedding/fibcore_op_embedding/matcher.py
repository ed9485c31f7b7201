"""Finds the embeddings of a model: what tokens are looked up in, and a rank's part of it."""

from __future__ import annotations

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    LinearSizes,
    ModelTree,
    ModuleNode,
    Named,
    ParameterRef,
    Scalar,
    Serving,
    UndecidedError,
    Unknown,
    decided,
    fact,
    layer_vocabulary,
    origins_of,
    rank_vocabulary,
)
from fibcore_op_embedding.names import OP_TYPE, kernel_name

_PARALLEL = "sglang.srt.layers.vocab_parallel_embedding.VocabParallelEmbedding"
_HEAD = "sglang.srt.layers.vocab_parallel_embedding.ParallelLMHead"
_TORCH = "torch.nn.Embedding"
# A look-up, and then a product of every row with one number.
_SCALED = "sglang.srt.models.gemma3_causal.Gemma3TextScaledWordEmbedding"

_CALLS = frozenset({"forward", "__call__"})

# What towers add to an image's patches: a table of places, which is stretched to the image's size.
_INTERPOLATED = "interpolation_mode"
_STRETCHED = "it is stretched to the size of an image and added; the op type looks rows up"
# And a row of its own before them.
_FIRST = ("class_embedding", "cls_token", "class_token")
_BEFORE = "a row of its own comes before those of patches; the op type looks rows up"


class _OtherFunction(Exception):
    """The module computes something that is not this kernel."""


@attrs.frozen
class _Table:
    """What tokens are looked up in.

    Attributes:
        sizes: Rows and elements of a row, as a rank has them.
        whole: The same of the whole vocabulary, without padding.
        ranks: Over how many ranks the rows are split; 0 where nothing splits them.
    """

    sizes: LinearSizes
    whole: LinearSizes
    ranks: int
    scale: float | None = None
    """What every row is multiplied by; None where it stays as it is."""

    @property
    def part(self) -> bool:
        return self.ranks > 1

    @property
    def name(self) -> str:
        rows = self.sizes if self.part else self.whole
        return kernel_name(
            rows.n.value, rows.k.value, part=self.part, scaled=self.scale is not None
        )


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The embeddings of `tree`, with every layer that runs each.

    Tensor parallelism splits SGLang's by rows: a rank looks up the tokens whose rows it has, gives
    zeros for the others, and the ranks' results are added up. torch's are whole on every rank.
    """
    found = KernelCollector()
    for node in tree.walk():
        if node.is_a(_PARALLEL, _TORCH) and node.cls != _HEAD:
            _match(node, serving, found)
        elif not node.leaf and node.calls:
            _name(node, found)
    return found.finish()


def _name(node: ModuleNode, found: KernelCollector) -> None:
    """Name what a tower does with tables, and rows, that it looks nothing up in."""
    own = {
        name: value
        for name, value in node.attributes.items()
        if isinstance(value, ParameterRef) and value.path.rpartition(".")[0] == node.path
    }
    if _INTERPOLATED in node.attributes and own:
        found.not_covered("positions of patches, interpolated", _STRETCHED, node)
    elif any(name in own for name in _FIRST):
        found.not_covered("class token before patches", _BEFORE, node)


def _match(node: ModuleNode, serving: Serving, found: KernelCollector) -> None:
    try:
        _check_class(node)
        table = _table(node, serving)
    except _OtherFunction as other:
        found.not_covered(node.class_name, str(other), node)
        return
    except UndecidedError as why:
        found.problem(f"{node.class_name} kernel", str(why), node)
        return
    if any(call.method in _CALLS for call in node.calls):
        found.add(_kernel(node, table), node)
    elif node.idle:
        found.not_covered(
            f"{table.name} that is not run",
            "the forward pass does not call it; another kernel may read its table",
            node,
        )
    else:
        found.not_covered(
            f"{table.name} whose call was not found",
            "no call of it was found in the forward pass; another kernel may read its table",
            node,
        )


def _kernel(node: ModuleNode, table: _Table) -> Kernel:
    sizes = table.sizes if table.part else table.whole
    facts: dict[str, Fact] = {
        "vocab_size": sizes.n.fact(node),
        "hidden_size": sizes.k.fact(node),
    }
    notes: tuple[str, ...] = ()
    parameters: dict[str, Scalar] = {
        "vocab_size": sizes.n.value,
        "hidden_size": sizes.k.value,
        "part": table.part,
    }
    if table.scale is not None:
        parameters |= {"scaled": True, "embed_scale": float(table.scale)}
        facts["embed_scale"] = fact(table.scale, node, "usual value of the input embed_scale")
    if table.part:
        facts["total_vocab_size"] = table.whole.n.fact(node)
    elif table.sizes.n.value != table.whole.n.value:
        notes = (f"SGLang pads the table to {table.sizes.n.value} rows, which no token has",)
    return Kernel(
        op_type=OP_TYPE,
        name=table.name,
        parameters=parameters,
        facts=facts,
        uses=(),
        tags=(f"tp:{table.ranks}",) if table.ranks else (),
        notes=notes,
    )


# --- the constructor ---------------------------------------------------------------------------


def _check_class(node: ModuleNode) -> None:
    """Refuse what looks up otherwise, or something else than plain rows.

    Raises:
        _OtherFunction: the module computes something else.
        UndecidedError: what that depends on is not known.
    """
    if node.cls not in (_PARALLEL, _TORCH) and not node.is_a(_SCALED):
        base = _PARALLEL if node.is_a(_PARALLEL) else _TORCH
        raise _OtherFunction(
            f"it derives from {base.rpartition('.')[2]} and may change what it computes"
        )
    if isinstance(node.quantization, Unknown):
        raise UndecidedError(f"its quantisation is {node.quantization}")
    if node.quantization is not None:
        raise _OtherFunction(f"its table is quantised by {node.quantization.method}")
    for name, what in (("params_dtype", "table"), ("dtype", "table"), ("output_dtype", "result")):
        dtype = decided(node.argument(name), name)
        if dtype is None:
            continue
        if not isinstance(dtype, Named):
            raise UndecidedError(f"{name} is {dtype!r}")
        if dtype.name.rpartition(".")[2] not in ("bfloat16", "float16"):
            raise _OtherFunction(f"its {what} is {dtype.name.rpartition('.')[2]}")
    if decided(node.argument("max_norm"), "max_norm") is not None:
        raise _OtherFunction("it shortens rows that are too long")
    original = decided(node.argument("org_num_embeddings"), "org_num_embeddings")
    if original and original != decided(node.argument("num_embeddings"), "num_embeddings"):
        raise _OtherFunction("rows of added words stand after those of the vocabulary")


def _table(node: ModuleNode, serving: Serving) -> _Table:
    sizes = rank_vocabulary(node, serving)
    origins = frozenset().union(*(origins_of(source) for source in sizes.n.sources))
    ranks = serving.ranks(origins) if sizes.sharded else 0
    scale = None
    if node.is_a(_SCALED):
        scale = decided(node.argument("embed_scale"), "embed_scale")
        if isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise UndecidedError(f"embed_scale is {scale!r}, not a number")
    return _Table(sizes, layer_vocabulary(node), ranks, scale)
