"""Finds block-sparse attention in a model tree, by how layers of attention are called.

A `RadixAttention` that is given index queries and keys beside its own (`idx_q`, `idx_k`) has its
backend choose blocks with these, and attend to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    kv_cache_dtype,
    origins_of,
    with_origins,
)
from fibcore_op_msa.names import OP_TYPE_OF, PAGE_SIZE, Kind, kernel_name

_CONFIG = "sparse_attention_config"
_INDEX = ("idx_q", "idx_k")
_CHOICE = "attention to chosen blocks"
LENIENT = ("sm_scale",)


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every layer of block-sparse attention."""
    finder = _Finder(tree, serving, KernelCollector(lenient=LENIENT))
    for node in tree.walk():
        given = {name for call in node.calls for name in call.kwargs}
        if node.is_a("RadixAttention") and given.issuperset(_INDEX):
            try:
                finder.layer(node)
            except UndecidedError as why:
                finder.found.problem("block-sparse attention", str(why), node)
    return finder.found.finish()


@attrs.frozen
class _Finder:
    tree: ModelTree
    serving: Serving
    found: KernelCollector

    def layer(self, node: ModuleNode) -> None:
        """Record what a layer of block-sparse attention runs."""
        parent = self.tree.parent(node.path)
        if parent is None:
            raise UndecidedError("the module that holds it is not known")
        features = list(_features(parent, self._settings()))
        cache = kv_cache_dtype(self.tree)
        if cache is not None:
            features.append(f"with {cache} KV cache")
        if features:
            why = "definitions are of one sort of scores, without values of an index"
            self.found.not_covered(f"block-sparse attention {' and '.join(features)}", why, node)
            return
        for kernel in self._kernels(node, parent):
            # The choice runs beside the attention that the layer is for.
            self.found.add(kernel, node, beside=kernel.op_type == OP_TYPE_OF["indexer"])

    def _settings(self) -> Mapping[str, Any]:
        text = self.tree.config.get("text_config")
        for config in (text if isinstance(text, Mapping) else {}, self.tree.config):
            found = config.get(_CONFIG)
            if isinstance(found, Mapping):
                return found
        raise UndecidedError(f"the config has no {_CONFIG}")

    def _kernels(self, node: ModuleNode, parent: ModuleNode) -> Iterator[Kernel]:
        settings = self._settings()
        topk = _setting(settings, "sparse_topk_blocks", least=1)
        block = _setting(settings, "sparse_block_size", least=1)
        shared = {
            "topk": fact(topk, node, "blocks that are chosen for a query"),
            "block_size": fact(block, node, "keys in a block"),
        }
        heads = {
            name: decided_size(node.argument(argument), argument)
            for name, argument in (("num_qo_heads", "num_heads"), ("num_kv_heads", "num_kv_heads"))
        }
        ranks = self.serving.ranks(origins_of(heads["num_qo_heads"]))
        rank = f"of one of {ranks} tensor-parallel ranks"
        size = decided_size(node.argument("head_dim"), "head_dim")
        attention = {
            "num_qo_heads": fact(heads["num_qo_heads"], node, f"query heads {rank}"),
            "num_kv_heads": fact(heads["num_kv_heads"], node, f"key and value heads {rank}"),
            "head_dim": fact(size, node, "elements of a head"),
            **shared,
            "sm_scale": fact(_scale(node), node, "the model's value of the input sm_scale"),
        }
        index_heads, index_size = (
            decided_size(parent.attributes.get(name), name)
            for name in ("num_idx_heads", "idx_head_dim")
        )
        indexer = {
            "num_index_heads": fact(index_heads, parent, f"index heads {rank}"),
            "head_dim": fact(index_size, parent, "elements of an index query and key"),
            **shared,
            "kv_cache_num_heads": fact(1, parent, "all index heads share one key"),
            **{
                name: fact(_blocks(settings, name, block), node, "always chosen")
                for name in ("init_blocks", "local_blocks")
            },
        }
        for page_size in self.serving.value(PAGE_SIZE):
            asked = with_origins(page_size, frozenset({PAGE_SIZE.origin}))
            page = {"page_size": fact(asked, node, "tokens in a page of the KV cache")}
            yield _kernel("attention", {**attention, **page}, f"tp:{ranks}", _CHOICE)
            yield _kernel("indexer", {**indexer, **page}, f"tp:{ranks}", f"choice for {_CHOICE}")


def _kernel(kind: Kind, facts: Mapping[str, Fact], rank: str, choice: str) -> Kernel:
    sizes = {name: int(one.value) for name, one in facts.items() if name not in LENIENT}
    scale = {name: float(facts[name].value) for name in LENIENT if name in facts}
    parameters: dict[str, Scalar] = {"kind": kind, **sizes, **scale}
    tags = ("sparse:topk", rank, *(("stage:indexer",) if kind == "indexer" else ()))
    name = kernel_name(kind, sizes)
    if kind == "indexer" and (sizes["init_blocks"], sizes["local_blocks"]) != (0, 1):
        name += f"_init{sizes['init_blocks']}_local{sizes['local_blocks']}"
    return Kernel(OP_TYPE_OF[kind], name, parameters, dict(facts), (), tags, choice=choice)


def _features(parent: ModuleNode, settings: Mapping[str, Any]) -> Iterator[str]:
    """What makes it another function than attention to blocks with the best keys."""
    disabled = decided(parent.attributes.get("disable_index_value"), "disable_index_value")
    if disabled is not True:
        yield "with values of the index"
    score = settings.get("sparse_score_type", "max")
    if score != "max":
        yield f"with scores of type {score}"


def _setting(settings: Mapping[str, Any], name: str, *, least: int) -> int:
    value = decided(settings.get(name), name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UndecidedError(f"{name} is {value!r}, not a number")
    return int(with_origins(value, frozenset({f"config:{_CONFIG}.{name}"})))


_TOKENS = {"init_blocks": "sparse_init_tokens", "local_blocks": "sparse_local_tokens"}
_BLOCKS = {"init_blocks": "sparse_init_block", "local_blocks": "sparse_local_block"}


def _blocks(settings: Mapping[str, Any], name: str, block: int) -> int:
    """How many blocks are always chosen; the config has their number, or that of their tokens."""
    if _BLOCKS[name] in settings:
        return _setting(settings, _BLOCKS[name], least=0)
    return -(-_setting(settings, _TOKENS[name], least=0) // block)


def _scale(node: ModuleNode) -> float:
    value = decided(node.argument("scaling"), "scaling")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UndecidedError(f"scaling is {value!r}, not a positive number")
    return value
