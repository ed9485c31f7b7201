"""The products with the halves of `kv_b_proj` that absorption makes of latent attention.

A module of latent attention (`DeepseekV2AttentionMLA` and its kin) holds a `RadixAttention` layer
of one KV head whose value, the latent vector, is the front part of its key, and a linear layer that
projects the latent vector up to keys and values. Its weight has two halves for each head. Absorbed,
queries are multiplied by that of the keys, [K, N] = [qk_nope_head_dim, kv_lora_rank], and what
attention gives by that of the values, [kv_lora_rank, v_head_dim]. SGLang splits the weight when it
loads it (`w_kc` and `w_vc` in `post_load_weights`), so that neither a module nor a parameter stands
for the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from fibcore.plugin import ModelTree, ModuleNode, Quantization
from fibcore_op_gemm.formats import BLOCK, BMM_BF16, BMM_FP8, FP8, Format
from fibcore_op_gemm.sizes import LINEAR, Size

_ATTENTION = "RadixAttention"


@attrs.frozen
class Absorbed:
    """A batch of products that a module of latent attention runs.

    Attributes:
        what: Which of the two.
        node: The module.
        batch: Heads of a rank.
        n: Columns of each matrix.
        k: Rows.
        weight: The linear layer whose weight it is.
    """

    what: str
    node: ModuleNode
    batch: Size
    n: Size
    k: Size
    weight: ModuleNode


def absorbed(tree: ModelTree) -> Iterator[Absorbed]:
    """The products of every module of latent attention that is known as far as they need it.

    Of others the plugin of latent attention says that they are not covered, or what is not known.
    """
    for parent in tree.walk():
        layers = [child for child in parent.children.values() if child.is_a(_ATTENTION)]
        if layers:
            yield from _of(parent, layers)


def _of(parent: ModuleNode, layers: list[ModuleNode]) -> Iterator[Absorbed]:
    latent = next((one for one in layers if _is_latent(one)), None)
    if latent is None:
        return
    heads, key, value = (_setting(latent, name) for name in ("num_heads", "head_dim", "v_head_dim"))
    weight = next((c for c in parent.children.values() if _projects_up(c, value)), None)
    if weight is None:
        return  # one KV head, of a rank, narrower in values than in keys (MiMo-V2)
    nope: Any = parent.attributes.get("qk_nope_head_dim")
    out: Any = parent.attributes.get("v_head_dim")
    # The layer beside it with keys and values of each head, for prefill.
    whole = next((one for one in layers if _setting(one, "num_kv_heads") == heads != 1), None)
    if whole is not None:
        key_of_head, out = _setting(whole, "head_dim"), _setting(whole, "v_head_dim")
        nope = key_of_head - (key - value) if _is_size(key_of_head) else None
    if not (_is_size(heads) and _is_size(nope) and _is_size(out)):
        return
    batch = Size(heads, "num_heads of a rank", (heads,))
    vector = Size(value, "v_head_dim of the absorbed layer: the latent vector", (value,))
    without_rope = Size(nope, "a head's keys without their rope part", (nope, key, value))
    yield Absorbed("query", parent, batch, vector, without_rope, weight)
    yield Absorbed("value", parent, batch, Size(out, "v_head_dim", (out,)), vector, weight)


def format_of(quantization: Quantization | None) -> tuple[Format | None, str]:
    """The format of the products by their layer's, and what SGLang does to the weight before.

    It multiplies bfloat16 weights as they are, dequantises fp8 ones in blocks of 128 x 128 (the
    environment variable SGLANG_USE_DEEPGEMM_BMM is off by default), int8 ones and AWQ's, and gives
    other fp8 ones a single scale, which `bmm_fp8` needs. None for what it has no way for.
    """
    if quantization is None:
        return BMM_BF16, ""
    block = (quantization.scheme, quantization.block) == ("block", (BLOCK, BLOCK))
    if quantization.weight_dtype == FP8 and not block:
        return BMM_FP8, "SGLang gives the weight a single scale when it loads it"
    kinds = (quantization.weight_dtype, quantization.method)
    if block or kinds[0] == "int8" or kinds in (("int4", "awq"), ("int4", "awq_marlin")):
        return BMM_BF16, "SGLang dequantises the weight when it loads it"
    return None, ""


def _setting(node: ModuleNode, name: str) -> Any:
    """A setting of a layer; what the model assigned to it later wins over the argument."""
    return node.attributes.get(name, node.argument(name))


def _is_latent(node: ModuleNode) -> bool:
    key, value = _setting(node, "head_dim"), _setting(node, "v_head_dim")
    heads = _setting(node, "num_kv_heads")
    known = _is_size(heads) and _is_size(key) and _is_size(value)
    return known and heads == 1 and value < key


def _projects_up(node: ModuleNode, latent: object) -> bool:
    """Whether it is the linear layer that makes keys and values of the latent vector.

    The output projection, which takes the heads' values, is a `RowParallelLinear`.
    """
    return (
        node.is_a(LINEAR + "LinearBase")
        and not node.is_a(LINEAR + "RowParallelLinear")
        and node.argument("input_size") == latent
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
