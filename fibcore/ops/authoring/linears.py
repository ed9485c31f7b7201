"""The sizes of linear layers and vocabularies, whole or as one rank has them.

The classes are those of `sglang/srt/layers/linear.py` and `vocab_parallel_embedding.py`; their
constructors take the sizes of the whole layer. What a rank gets follows their `__init__`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.model.kernel import Fact, fact
from fibcore.model.serving import Serving
from fibcore.model.tree import ModuleNode, Named, Operation, with_origins
from fibcore.ops.authoring.decided import UndecidedError, decided, decided_size

LINEAR = "sglang.srt.layers.linear."
EMBEDDING = "sglang.srt.layers.vocab_parallel_embedding."
TORCH_EMBEDDING = "torch.nn.Embedding"
TORCH_LINEAR = ("torch.nn.Linear", "torch.nn.modules.linear.Linear")
QKV_GATE = "sglang.srt.layers.muse_spark.muse_spark_layers.QKVOGateParallelLinear"
VOCAB_PADDING = 64  # DEFAULT_VOCAB_PADDING_SIZE of SGLang

# First positional parameters of the constructors, for subclasses that only pass *args on.
_POSITIONAL = {
    LINEAR + "QKVParallelLinear": ("hidden_size", "head_size", "total_num_heads"),
    LINEAR + "MergedColumnParallelLinear": ("input_size", "output_sizes", "bias"),
    LINEAR + "LinearBase": ("input_size", "output_size", "bias"),
}


@attrs.frozen
class Size:
    """One size, how it follows from what the constructor gets, and the values that it came from."""

    value: int
    note: str
    sources: tuple[object, ...] = ()

    def fact(self, node: ModuleNode | Operation) -> Fact:
        """The size as a fact about a layer, or about a call."""
        return fact(self.value, node, self.note, *self.sources)


@attrs.frozen
class LinearSizes:
    """The sizes of a weight [n, k], by which a layer takes k elements of a token to n.

    Attributes:
        n: Outputs.
        k: Inputs.
        sharded: Whether tensor parallelism splits the layer, into one part on one rank too.
    """

    n: Size
    k: Size
    sharded: bool = False


def rank_sizes(linear: ModuleNode, serving: Serving) -> LinearSizes | None:
    """The part of a linear layer that one rank has; None where the module is no known linear layer.

    Args:
        linear: A linear layer of SGLang or of torch.
        serving: The parallel sizes.

    Raises:
        UndecidedError: a size is unknown, or the ranks do not divide it.
    """
    return _linear(linear, serving)


def layer_sizes(linear: ModuleNode) -> LinearSizes | None:
    """The whole linear layer; None where the module is no known linear layer.

    Raises:
        UndecidedError: a size is unknown.
    """
    return _linear(linear, None)


def rank_vocabulary(embedding: ModuleNode, serving: Serving) -> LinearSizes:
    """The part of an LM head or an embedding that one rank has: n words of k elements.

    That is its share of the vocabulary as SGLang pads it: to a multiple of `padding_size`, times
    the ranks where they do not divide that. torch's own embedding is whole on every rank.

    Raises:
        UndecidedError: a size is unknown.
    """
    return _vocabulary(embedding, serving)


def layer_vocabulary(embedding: ModuleNode) -> LinearSizes:
    """The whole LM head or embedding: its vocabulary without padding.

    Raises:
        UndecidedError: a size is unknown.
    """
    return _vocabulary(embedding, None)


# In what follows no serving sizes stand for the whole layer.


def _linear(node: ModuleNode, serving: Serving | None) -> LinearSizes | None:
    if node.is_a(QKV_GATE):
        return _qkv(node, serving, gates=1)
    if node.is_a(LINEAR + "QKVParallelLinear"):
        return _qkv(node, serving, gates=0)
    if node.is_a(LINEAR + "MergedColumnParallelLinear"):
        return _merged(node, serving)
    if node.is_a(LINEAR + "MergedColumnParallelRepeatedLinear"):
        return _merged_repeated(node, serving)
    # The batched one has several matrices of these sizes.
    if node.is_a(LINEAR + "ColumnParallelLinear", LINEAR + "ColumnParallelBatchedLinear"):
        return _split_n(node, serving)
    if node.is_a(LINEAR + "RowParallelLinear"):
        return _split_k(node, serving)
    if node.is_a(LINEAR + "ReplicatedLinear"):
        return _whole(node, "output_size", "input_size")
    if node.is_a(*TORCH_LINEAR):
        return _whole(node, "out_features", "in_features")
    return None


def _vocabulary(node: ModuleNode, serving: Serving | None) -> LinearSizes:
    if node.is_a(TORCH_EMBEDDING):
        return _whole(node, "num_embeddings", "embedding_dim")
    arguments = _arguments(node)
    k = Size(_int(arguments, "embedding_dim"), "embedding_dim", (arguments["embedding_dim"],))
    original = arguments.get("org_num_embeddings")
    name = "num_embeddings" if original is None or original == 0 else "org_num_embeddings"
    vocabulary = _int(arguments, name)
    if serving is None:
        return LinearSizes(Size(vocabulary, name, (arguments[name],)), k)
    ranks, sharded = 1, bool(decided(arguments.get("enable_tp", True), "enable_tp"))
    if sharded:
        of_attention = decided(arguments.get("use_attn_tp_group", False), "use_attn_tp_group")
        ranks = _attention_tp(serving) if of_attention else _tp(serving)
    padding = arguments.get("padding_size", VOCAB_PADDING)
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 1:
        raise UndecidedError(f"padding_size is {padding}")
    if _round_up(vocabulary, padding) % ranks:
        padding *= ranks
    padded = _round_up(vocabulary, padding)
    note = f"{name}, padded to {padded}, / tp"
    return LinearSizes(Size(padded // ranks, note, (arguments[name], ranks)), k, sharded=sharded)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


# --- the kinds of linear layers ------------------------------------------------------------------


def _whole(node: ModuleNode, n: str, k: str) -> LinearSizes:
    # A subclass of torch's with a constructor of its own has its sizes from that of the base class.
    held = {name: node.attributes[name] for name in (n, k) if name in node.attributes}
    arguments = {**held, **_arguments(node)}
    return LinearSizes(
        Size(_int(arguments, n), n, (arguments[n],)), Size(_int(arguments, k), k, (arguments[k],))
    )


def _split_n(node: ModuleNode, serving: Serving | None) -> LinearSizes:
    whole = _whole(node, "output_size", "input_size")
    if serving is None:
        return whole
    ranks = _ranks(_arguments(node), serving)
    n = Size(
        _divide(whole.n.value, ranks, "output_size"),
        "output_size / tp",
        (*whole.n.sources, ranks),
    )
    return LinearSizes(n, whole.k, sharded=True)


def _split_k(node: ModuleNode, serving: Serving | None) -> LinearSizes:
    whole = _whole(node, "output_size", "input_size")
    if serving is None:
        return whole
    ranks = _ranks(_arguments(node), serving)
    k = Size(
        _divide(whole.k.value, ranks, "input_size"), "input_size / tp", (*whole.k.sources, ranks)
    )
    return LinearSizes(whole.n, k, sharded=True)


def _merged(node: ModuleNode, serving: Serving | None) -> LinearSizes:
    arguments = _arguments(node)
    k = Size(_int(arguments, "input_size"), "input_size", (arguments["input_size"],))
    sizes = _ints(arguments, "output_sizes")
    parts = " + ".join(str(int(s)) for s in sizes)
    if serving is None:
        return LinearSizes(Size(sum(sizes), f"output_sizes: {parts}", tuple(sizes)), k)
    ranks = _ranks(arguments, serving)
    n = sum(_divide(size, ranks, "output_sizes") for size in sizes)
    return LinearSizes(Size(n, f"output_sizes: ({parts}) / tp", (*sizes, ranks)), k, sharded=True)


def _merged_repeated(node: ModuleNode, serving: Serving | None) -> LinearSizes:
    arguments = _arguments(node)
    k = Size(_int(arguments, "input_size"), "input_size", (arguments["input_size"],))
    columns = _ints(arguments, "column_output_sizes")
    repeated = _ints(arguments, "repeated_output_sizes")
    if serving is None:
        note = "column_output_sizes + repeated_output_sizes"
        return LinearSizes(Size(sum(columns) + sum(repeated), note, (*columns, *repeated)), k)
    ranks = _ranks(arguments, serving)
    n = sum(_divide(size, ranks, "column_output_sizes") for size in columns) + sum(repeated)
    note = "column_output_sizes / tp + repeated_output_sizes"
    return LinearSizes(Size(n, note, (*columns, *repeated, ranks)), k, sharded=True)


def _qkv(node: ModuleNode, serving: Serving | None, *, gates: int) -> LinearSizes:
    """A merged query, key and value projection (and, with `gates`, one of the queries' size).

    Key and value heads fewer than the ranks are copied to them; that is no part of the whole layer.
    """
    arguments = _arguments(node)
    k = Size(_int(arguments, "hidden_size"), "hidden_size", (arguments["hidden_size"],))
    head = _int(arguments, "head_size")
    # No queries: keys and values alone, of an encoder's output (Whisper).
    heads = _part(arguments.get("total_num_heads"), "total_num_heads")
    kv_heads = heads
    if decided(arguments.get("total_num_kv_heads"), "total_num_kv_heads") is not None:
        kv_heads = _int(arguments, "total_num_kv_heads")
    v_head = head
    if decided(arguments.get("v_head_size"), "v_head_size") is not None:
        v_head = _part(arguments["v_head_size"], "v_head_size")
    sources: tuple[object, ...] = (head, heads, kv_heads, v_head)
    note = "(total_num_heads + total_num_kv_heads) * head_size + total_num_kv_heads * v_head_size"
    if v_head == head:
        note = "(total_num_heads + 2 * total_num_kv_heads) * head_size"
    if gates:
        note = note.replace("(total_num_heads", "(2 * total_num_heads")
    if serving is not None:
        ranks = _ranks(arguments, serving)
        kv_ranks = ranks
        if decided(arguments.get("kv_parallel_group"), "kv_parallel_group") is not None:
            kv_ranks = _group(arguments["kv_parallel_group"], serving)
        heads = _divide(heads, ranks, "total_num_heads")
        if kv_ranks >= kv_heads:
            _divide(kv_ranks, kv_heads, "tp, over which key and value heads are copied,")
            kv_heads = 1
        else:
            kv_heads = _divide(kv_heads, kv_ranks, "total_num_kv_heads")
        note += " with a rank's heads, at least one of each"
        sources = (*sources, ranks, kv_ranks)
    n = (1 + gates) * heads * head + kv_heads * (head + v_head)
    return LinearSizes(Size(n, note, sources), k, sharded=serving is not None)


# --- ranks ---------------------------------------------------------------------------------------


def _tp(serving: Serving) -> int:
    ranks: int = with_origins(serving.tp, frozenset({"serving:tp"}))
    return ranks


def _ranks(arguments: Mapping[str, Any], serving: Serving) -> int:
    """How many ranks a layer is split over.

    SGLang 0.5.9 has the argument `tp_size`, later versions a `parallel_group`; both default to the
    tensor-parallel size. The attention group is smaller where attention is data-parallel.
    """
    if "tp_size" in arguments:
        size = decided(arguments.get("tp_size"), "tp_size")
        return _tp(serving) if size is None else _int(arguments, "tp_size")
    return _group(decided(arguments.get("parallel_group"), "parallel_group"), serving)


def _attention_tp(serving: Serving) -> int:
    launch = serving.launch
    names = {"tp"}
    if launch is not None:
        names |= {"dp"} if launch.attention_dp > 1 else set()
        names |= {"attn_cp"} if launch.attention_cp > 1 else set()
    ranks: int = with_origins(serving.attention_tp, frozenset(f"serving:{n}" for n in names))
    return ranks


def _group(group: object, serving: Serving) -> int:
    if group is None or group == "tp":
        return _tp(serving)
    if group == "attn_tp":
        return _attention_tp(serving)
    if group == "replicated":
        return 1
    if isinstance(group, Named) and group.name.endswith(_COPIED):
        # Ranks that hold the same part, and how many of them do (since 0.5.22).
        fields = dict(group.fields)
        copies = decided_size(fields.get("replica_size"), "replica_size")
        return _divide(_group(fields.get("group"), serving), copies, f"the group {fields}")
    raise UndecidedError(f"the size of the parallel group {group} is not known")


_COPIED = "layers.linear.ReplicatedParallelGroup"


def _divide(value: int, ranks: int, name: str) -> int:
    if value % ranks:
        raise UndecidedError(f"{name} {int(value)} cannot be split evenly by {int(ranks)}")
    return value // ranks


# --- arguments -----------------------------------------------------------------------------------


def _arguments(node: ModuleNode) -> Mapping[str, Any]:
    """The constructor's arguments by name, also where a subclass passes *args and **kwargs on."""
    arguments = dict(node.arguments)
    passed, named = arguments.get("args"), arguments.get("kwargs")
    if isinstance(named, Mapping):
        arguments = {**named, **arguments}
    if isinstance(passed, (tuple, list)) and passed:
        for cls, names in _POSITIONAL.items():
            if node.is_a(cls):
                arguments = {**dict(zip(names, passed, strict=False)), **arguments}
                break
    return arguments


def _part(value: object, name: str) -> int:
    """A size of a part of a layer, which may have none of it: values that nothing projects."""
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return value
    return decided_size(value, name)


def _int(arguments: Mapping[str, Any], name: str) -> int:
    if name not in arguments:
        raise UndecidedError(f"{name} is not among the constructor's arguments")
    return decided_size(arguments[name], name)


def _ints(arguments: Mapping[str, Any], name: str) -> list[int]:
    values = decided(arguments.get(name), name)
    if not isinstance(values, (list, tuple)):
        raise UndecidedError(f"{name} is {values!r}, not a list of sizes")
    return [_part(value, name) for value in values]
