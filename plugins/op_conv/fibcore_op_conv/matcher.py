"""Finds causal convolutions in a model tree.

State spaces and linear attention keep the weight of theirs in a linear layer that is never called
(`conv1d`), and a backend convolves: inputs are the layer's size, outputs the channels. LFM2's short
convolutions hold a parameter.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Named,
    Operation,
    ParameterRef,
    Serving,
    UndecidedError,
    decided,
    decided_size,
    fact,
    origins_of,
    rank_sizes,
)
from fibcore_op_conv.names import OP_TYPE, STAGES, Form, Shape

_WEIGHT = re.compile(r"(^|[._])conv(1d)?$")
_LINEAR = "sglang.srt.layers.linear.LinearBase"
_SHORT = ("Lfm2ShortConv", "Lfm2MoeShortConv")
_FUSED = re.compile(r"^fused\w*short_conv")
# Where a kernel that also multiplies by the gates may run in place of the convolution's.
_CHOICE = "short convolution"
# Of a tower's patches, and how its class is called.
_POOLING = re.compile(r"^torch\.nn\.(modules\.pooling\.)?(AvgPool|AdaptiveAvgPool|MaxPool)\d?d?$")
_WINDOWS = "a window's patches become one, without a weight; the op type convolves tokens"
_ACTIVATIONS = {"silu": True, "swish": True, None: False}


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The causal convolutions of `tree`, with every layer that runs each."""
    found = KernelCollector()
    fused = _fused(tree)
    for node in tree.walk():
        if node.class_name in _SHORT or _holds_a_weight(node):
            _match(node, tree, serving, fused.get(node.path, ()), found)
        elif node.calls and _POOLING.search(node.cls):
            found.not_covered(f"{node.class_name} of patches", _WINDOWS, node)
    return found.finish()


def _match(
    node: ModuleNode,
    tree: ModelTree,
    serving: Serving,
    fused: tuple[Operation, ...],
    found: KernelCollector,
) -> None:
    holder = tree.parent(node.path)
    try:
        if node.class_name in _SHORT:
            _short(node, serving, fused, found)
        elif holder is not None:
            _weight(node, holder, serving, found)
    except UndecidedError as why:
        found.problem("causal convolution", str(why), node)


def _holds_a_weight(node: ModuleNode) -> bool:
    """Whether it is a linear layer that is there for a convolution's weight."""
    if node.calls or not _WEIGHT.search(node.path):
        return False
    return node.is_a(_LINEAR) or node.cls.startswith(_LINEAR.rpartition(".")[0])


def _fused(tree: ModelTree) -> dict[str, tuple[Operation, ...]]:
    """Path of a module to the calls in it of kernels that convolve and multiply by gates."""
    found: dict[str, tuple[Operation, ...]] = {}
    for operation in tree.operations:
        if _FUSED.search(operation.name):
            found[operation.module] = (*found.get(operation.module, ()), operation)
    return found


# --- weights in linear layers ------------------------------------------------------------------


def _weight(node: ModuleNode, holder: ModuleNode, serving: Serving, found: KernelCollector) -> None:
    """Add the convolution whose weight a linear layer holds; others are left alone."""
    activation = _activation(holder)
    if activation is _NOT_KNOWN:
        return
    activation = decided(activation, "activation")
    silu = _ACTIVATIONS.get(activation) if isinstance(activation, str | None) else None
    if silu is None:
        what = f"causal convolution with activation {activation}"
        found.not_covered(what, "no definition has this activation", node)
        return
    sizes = rank_sizes(node, serving)
    if sizes is None:
        raise UndecidedError(f"the sizes of a {node.class_name} are not known")
    bias = decided(node.argument("bias"), "bias")
    if not isinstance(bias, bool):
        raise UndecidedError(f"bias is {bias!r}")
    dtype = _dtype(node.argument("params_dtype"))
    shape = Shape(int(sizes.n.value), int(sizes.k.value), silu, bias, dtype)
    if shape.width < 2:
        raise UndecidedError(f"a convolution over {shape.width} token has no state")
    facts = {"dim": sizes.n.fact(node), "width": sizes.k.fact(node)}
    _add(node, shape, facts, serving, found)


_NOT_KNOWN = object()


def _activation(holder: ModuleNode) -> Any:
    """What the holder of a weight says that comes behind its convolution."""
    if holder.is_a("MambaMixer2"):
        return holder.attributes.get("activation")
    for child in holder.children.values():
        if child.is_a("RadixLinearAttention"):
            return child.argument("activation")
    return _NOT_KNOWN


def _dtype(value: Any) -> str:
    """The dtype of parameters; None is the model's, which is bfloat16 here."""
    value = decided(value, "params_dtype")
    if value is None:
        return "bfloat16"
    name = value.name.rpartition(".")[2] if isinstance(value, Named) else str(value)
    if name not in ("bfloat16", "float16", "float32"):
        raise UndecidedError(f"params_dtype is {name}")
    return "bfloat16" if name == "float16" else name


# --- LFM2 --------------------------------------------------------------------------------------


def _short(
    node: ModuleNode,
    serving: Serving,
    fused: tuple[Operation, ...],
    found: KernelCollector,
) -> None:
    """Add the convolution between the gates of a short convolution."""
    weight = node.attributes.get("conv_weight")
    if not isinstance(weight, ParameterRef) or weight.shape is None or len(weight.shape) != 2:
        raise UndecidedError(f"conv_weight, which has a row for each channel, is {weight}")
    dim, width = (
        decided_size(size, f"the {what} of conv_weight")
        for size, what in zip(weight.shape, ("rows", "columns"), strict=True)
    )
    bias = decided(node.attributes.get("use_bias"), "use_bias")
    if not isinstance(bias, bool):
        raise UndecidedError(f"use_bias is {bias!r}")
    facts = {
        "dim": fact(dim, node, f"channels of one of {serving.tp} tensor-parallel ranks"),
        "width": fact(width, node, "tokens that an output sees"),
    }
    shape = Shape(int(dim), int(width), False, bias, weight.dtype or "bfloat16")
    _add(node, shape, facts, serving, found, choice=_CHOICE if fused else "")
    for operation in fused:
        found.not_covered(
            f"short convolution with its gates ({operation.name})",
            "one kernel multiplies by the gates before and after it as well",
            node,
            op_types=(),
            choice=_CHOICE,
        )


def _add(
    node: ModuleNode,
    shape: Shape,
    facts: dict[str, Fact],
    serving: Serving,
    found: KernelCollector,
    choice: str = "",
) -> None:
    """Add the kernels of a convolution, one for each stage."""
    width = facts["width"]
    states = attrs.evolve(
        width, value=shape.width - 1, note="tokens that the state keeps, width - 1"
    )
    for stage, form in STAGES.items():
        if stage in serving.stages:
            kernel = _kernel(form, stage, shape, {**facts, "state_len": states}, serving)
            found.add(attrs.evolve(kernel, choice=choice), node)
    found.claim(node)


def _kernel(
    form: Form, stage: str, shape: Shape, facts: dict[str, Fact], serving: Serving
) -> Kernel:
    return Kernel(
        op_type=OP_TYPE,
        name=shape.name(form),
        parameters={
            "form": form,
            "dim": shape.dim,
            "width": shape.width,
            "silu": shape.silu,
            "bias": shape.bias,
            "weight_dtype": shape.weight_dtype,
        },
        facts=facts,
        uses=(),
        tags=(f"stage:{stage}", f"tp:{serving.ranks(origins_of(shape.dim))}"),
    )
