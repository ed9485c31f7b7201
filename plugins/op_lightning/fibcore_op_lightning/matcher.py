"""Finds lightning attention in a model tree.

SGLang runs it in the backend of linear attention, which a `RadixAttention` reaches as softmax
attention does: what holds the layer tells which it is. Ling hands over float32 queries, keys and
values, MiniCPM those of the model's dtype.
"""

from __future__ import annotations

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Serving,
    UndecidedError,
    decided_size,
    fact,
    linear_attention_dtype,
    origins_of,
)
from fibcore_op_lightning.names import FORMS, OP_TYPE, Form, kernel_name

_LAYER = "RadixAttention"


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of `tree`, with every layer that runs each."""
    found = KernelCollector()
    for node in tree.walk():
        dtype = linear_attention_dtype(node.path, tree) if node.is_a(_LAYER) else None
        if dtype is not None:
            _match(node, dtype, serving, found)
    return found.finish()


def _match(node: ModuleNode, dtype: str, serving: Serving, found: KernelCollector) -> None:
    """Add the kernels of a layer, or say why it has none."""
    if node.idle:
        found.not_covered(
            f"{node.class_name} that is not run", "the forward pass does not call it", node
        )
        return
    try:
        heads, keys, dim = (
            decided_size(node.argument(name), name)
            for name in ("num_heads", "num_kv_heads", "head_dim")
        )
        if keys != heads:
            raise UndecidedError(f"{heads} query heads and {keys} key heads do not fit")
    except UndecidedError as why:
        found.problem("lightning attention", str(why), node)
        return
    for form in FORMS:
        if form in serving.stages:
            found.add(_kernel(node, serving, form, heads, dim, dtype), node)
    found.claim(node)


def _kernel(
    node: ModuleNode, serving: Serving, form: Form, heads: int, dim: int, dtype: str
) -> Kernel:
    """The kernel of a layer in one form, with a fact for each constant."""
    ranks = serving.ranks(origins_of(heads))
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(form, heads, dim, dtype),
        parameters={
            "form": form,
            "num_heads": int(heads),
            "head_dim": int(dim),
            "dtype": dtype,
        },
        facts={
            "num_heads": fact(heads, node, f"heads of one of {ranks} tensor-parallel ranks"),
            "head_dim": fact(dim, node, "size of a query, key and value head"),
        },
        uses=(),
        tags=(f"stage:{form}", f"tp:{ranks}"),
    )
