"""Finds DeepSeek-V4's attention in a model tree, by the modules that SGLang makes it of.

A module of attention is compressed where it has a `Compressor`, and chooses among compressed keys
where it has a `C4Indexer`. It hands all of that to its attention backend, which calls what is named
here: what is normalised and stored runs at the norms, which have no kernels of their own then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

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
    origins_of,
    with_origins,
)
from fibcore_op_dsv4.names import (
    INDEX_SCALE_BYTES,
    KINDS,
    PAGE_SIZE,
    TILE,
    KindName,
    kv_dim,
)

_ATTENTION = ("MqaAttentionBase", "MQALayer")
_COMPRESSOR = "sglang.srt.layers.attention.dsv4.compressor.Compressor"
_INDEXER = "sglang.srt.layers.attention.dsv4.indexer.C4Indexer"
_RATIOS = (0, 4, 128)
_OPEN = ("max_position", "extra_topk")
"""Facts about axes that a definition leaves open: what they are in the model."""
LENIENT = ("eps", "bmm1_scale", "weight_scale")
"""Parameters in which layers may differ that run the same kernel."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every such module in `tree`."""
    finder = _Finder(tree, serving, KernelCollector(lenient=LENIENT))
    for node in tree.walk():
        for names, what, find in (
            (_ATTENTION, "attention to compressed keys", finder.attention),
            ((_COMPRESSOR,), "compressor of keys", finder.compressor),
            ((_INDEXER,), "queries of an indexer", finder.indexer),
        ):
            if node.is_a(*names):
                try:
                    find(node)
                except UndecidedError as why:
                    finder.found.problem(what, str(why), node)
    return finder.found.finish()


@attrs.frozen
class _Finder:
    tree: ModelTree
    serving: Serving
    found: KernelCollector

    def attention(self, node: ModuleNode) -> None:
        """What a module of attention runs itself: on its queries, keys and output."""
        ratio = decided(node.attributes.get("compress_ratio"), "compress_ratio")
        layer = node.children.get("attn_mqa")
        if layer is None:
            if not any(child.is_a("RadixAttention") for child in node.children.values()):
                raise UndecidedError("it has no layer of attention")
            self.found.not_covered(f"{_NAME} of {node.class_name}", _OF_A_BLOCK, node)
            return
        if ratio not in _RATIOS:
            self.found.claim(node)
            why = "its caches have other layouts, and its queries go to one kernel with more"
            self.found.not_covered(f"{_NAME} with keys compressed by {ratio}", why, layer)
            return
        sizes = _attention_sizes(node, self.serving)
        self._add("compressed" if ratio else "window", layer, self._seen(node, sizes, ratio))
        eps = {"eps": fact(_number(node, "eps"), node, "added to the mean square")}
        table = {**{name: sizes[name] for name in ("head_dim", "rope_dim")}, **self._table(node)}
        norm = node.children.get("kv_norm", node)
        self._add("k_store", norm, {**table, **_latent_cache(node, sizes, 1), **eps})
        if decided(node.attributes.get("q_head_norm", True), "q_head_norm") is not True:
            raise UndecidedError("its queries are not normalised by head")
        self._add("q_norm_rope", node, {"num_heads": sizes["num_heads"], **table, **eps})
        rope = node.children.get("rotary_emb", node)
        turned = {name: sizes[name] for name in ("num_heads", "rope_dim")}
        self._add("inverse_rope", rope, {**turned, **self._table(node)})
        self.found.claim(node)

    def _seen(self, node: ModuleNode, sizes: Mapping[str, Fact], ratio: int) -> dict[str, Fact]:
        window = self.tree.config.get("sliding_window")
        window = with_origins(
            decided_size(window, "sliding_window"), frozenset({"config:sliding_window"})
        )
        head, rope = (int(sizes[name].value) for name in ("head_dim", "rope_dim"))
        size = fact(kv_dim(head, rope), node, _BYTES)
        found = {
            **{name: sizes[name] for name in ("num_heads", "head_dim")},
            "kv_pad_dim": fact(1, node, "all heads share one latent vector"),
            "swa_page_size": fact(PAGE_SIZE, node, _PAGE),
            "swa_kv_dim": size,
            "sparse_topk": fact(window, node, "keys of the window"),
            "bmm1_scale": fact(_number(node, "softmax_scale"), node, "head_dim^-0.5"),
        }
        if ratio:
            found["compressed_page_size"] = _compressed_page(node, ratio)
            found["compressed_kv_dim"] = size
        chooser = node.children.get("indexer")
        if ratio and chooser is not None:
            # How long its lists are; those of all compressed keys are as long as a sequence.
            topk = {**self.tree.config, **chooser.attributes}.get("index_topk")
            found["extra_topk"] = fact(
                decided_size(topk, "index_topk"), chooser, "keys that the indexer chooses"
            )
        return found

    def compressor(self, node: ModuleNode) -> None:
        """What makes one latent vector of several, and what stores it."""
        ratio = decided_size(node.attributes.get("ratio"), "ratio")
        head = decided_size(node.attributes.get("head_dim"), "head_dim")
        rope = decided_size(node.attributes.get("rope_head_dim"), "rope_head_dim")
        overlap = decided(node.attributes.get("overlap"), "overlap") is True
        parts = 2 if overlap else 1
        dim = fact(head, node, "elements of a latent vector")
        window = fact(parts * ratio, node, "the ratio, twice with overlap", ratio)
        state = fact(2 * parts * head, node, "numbers and scores, twice with overlap", head)
        made = {"head_dim": dim, "window": window, "state_dim": state}
        self._add("overlap" if overlap else "plain", node, made)
        norm = node.children.get("norm")
        if norm is None:
            raise UndecidedError("it has no norm")
        eps = decided(norm.argument("eps"), "eps of its norm")
        sizes = {
            "head_dim": dim,
            "rope_dim": fact(rope, node, "elements that are turned"),
            "eps": fact(_as_number(eps, "eps"), norm, "added to the mean square"),
            **self._table(node),
        }
        if decided(node.attributes.get("is_in_indexer"), "is_in_indexer") is True:
            self._add("index_k_store", norm, {**sizes, **_index_cache(node, head, ratio)})
        else:
            self._add("latent_store", norm, {**sizes, **_latent_cache(node, sizes, ratio)})

    def indexer(self, node: ModuleNode) -> None:
        """What index queries go through; the choice is another plugin's."""
        if decided(node.attributes.get("use_fp4_indexer", False), "use_fp4_indexer") is True:
            why = "queries and keys are in FP4, which no definition has"
            self.found.not_covered("dsv4 index queries in FP4", why, node)
            return
        sizes = {
            axis: fact(decided_size(node.attributes.get(name), name), node, note)
            for axis, name, note in (
                ("num_heads", "n_heads", "index heads; no rank has a part of them"),
                ("head_dim", "head_dim", "elements of an index query"),
                ("rope_dim", "rope_head_dim", "elements that are turned"),
            )
        }
        scale = fact(_number(node, "weight_scale"), node, "head_dim^-0.5 * n_heads^-0.5")
        self._add("index_q", node, {**sizes, "weight_scale": scale, **self._table(node)})

    def _table(self, node: ModuleNode) -> dict[str, Fact]:
        """Rows of the table of angles, where the config says how many."""
        rows = self.tree.config.get("max_position_embeddings")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            return {}
        known = with_origins(rows, frozenset({"config:max_position_embeddings"}))
        return {"max_position": fact(known, node, "positions of the table of angles")}

    def _add(self, name: KindName, user: ModuleNode, facts: Mapping[str, Fact]) -> None:
        kind = KINDS[name]
        sizes = {n: int(one.value) for n, one in facts.items() if n not in (*LENIENT, *_OPEN)}
        _check_sizes(name, sizes)
        parameters: dict[str, Scalar] = {"kind": name, **sizes}
        parameters |= {n: float(one.value) for n, one in facts.items() if n in LENIENT}
        kernel = Kernel(
            op_type=kind.op_type,
            name=kind.name(sizes),
            parameters=parameters,
            facts=dict(facts),
            uses=(),
            tags=(*_TAGS.get(kind.op_type, ()), *self._rank(name, facts)),
        )
        self.found.add(kernel, user)

    def _rank(self, name: KindName, facts: Mapping[str, Fact]) -> tuple[str, ...]:
        """The tag of the ranks that heads are split over; an indexer's are on every rank."""
        if "num_heads" not in facts or name == "index_q":
            return ()
        return (f"tp:{self.serving.ranks(facts['num_heads'].origins)}",)


_NAME = "sparse_mla_dsv4"
_OF_A_BLOCK = (
    "a draft of several tokens at once has a layer of attention of its own, in which all tokens of "
    "a block see each other"
)
_TAGS: dict[str, tuple[str, ...]] = {_NAME: ("sparse:topk", "quantization:float8_e4m3fn")}
_PAGE = "tokens in a page, which SGLang's backend fixes"
_BYTES = "an fp8 byte an element, two a turned one, 8 of scales"


def _attention_sizes(node: ModuleNode, serving: Serving) -> dict[str, Fact]:
    heads, head, rope = (
        decided_size(node.attributes.get(name), name)
        for name in ("n_local_heads", "head_dim", "qk_rope_head_dim")
    )
    ranks = serving.ranks(origins_of(heads))
    return {
        "num_heads": fact(heads, node, f"query heads of one of {ranks} tensor-parallel ranks"),
        "head_dim": fact(head, node, "elements of a query and of a latent vector"),
        "rope_dim": fact(rope, node, "elements that are turned"),
    }


def _compressed_page(node: ModuleNode, ratio: int) -> Fact:
    note = "keys of the tokens of a page, so many that each ratio of them has one"
    return fact(PAGE_SIZE // ratio, node, note, ratio)


def _latent_cache(node: ModuleNode, sizes: Mapping[str, Fact], ratio: int) -> dict[str, Fact]:
    head, rope = (int(sizes[name].value) for name in ("head_dim", "rope_dim"))
    page = fact(PAGE_SIZE, node, _PAGE) if ratio == 1 else _compressed_page(node, ratio)
    return {
        "page_size": page,
        "kv_pad_dim": fact(1, node, "all heads share one latent vector"),
        "kv_dim": fact(kv_dim(head, rope), node, _BYTES),
    }


def _index_cache(node: ModuleNode, head: int, ratio: int) -> dict[str, Fact]:
    return {
        "page_size": _compressed_page(node, ratio),
        "kv_cache_num_heads": fact(1, node, "all index heads share one key"),
        "head_dim_with_scale": fact(
            head + INDEX_SCALE_BYTES, node, "bytes of a key and of its float32 scale", head
        ),
    }


def _check_sizes(name: KindName, sizes: Mapping[str, int]) -> None:
    """Refuse what the layouts of the caches and the transform cannot have.

    Raises:
        UndecidedError: they cannot.
    """
    head, rope = sizes.get("head_dim", TILE), sizes.get("rope_dim", 0)
    if name in ("k_store", "latent_store") and (head - rope) % TILE:
        raise UndecidedError(f"{head - rope} elements are no tiles of {TILE}")
    if name in ("index_k_store", "index_q") and head & (head - 1):
        raise UndecidedError(f"{head} is no power of two, which the Hadamard transform needs")


def _number(node: ModuleNode, name: str) -> float:
    return _as_number(decided(node.attributes.get(name), name), name)


def _as_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UndecidedError(f"{name} is {value!r}, not a positive number")
    return value
