"""Finds the quantisations of a model: which kernel each call is, and how long its rows are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Operation,
    Quantization,
    Serving,
    Size,
    TensorRef,
    UndecidedError,
    decided,
    fact,
    rank_sizes,
)
from fibcore_op_quantize.definitions import axes
from fibcore_op_quantize.kinds import GROUPS, KINDS, Kind
from fibcore_op_quantize.names import OP_TYPE, kernel_name

_EXPERTS = "sglang.srt.layers.moe.fused_moe_triton.layer.FusedMoE"
_COMPRESSED = "compressed_tensors"
_QUANTISES = re.compile(r"(?<!de)quant", re.IGNORECASE)


class _OtherFunctionError(Exception):
    """The call computes something that is none of the kinds."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The quantisations of activations that `tree` calls, as one rank runs them."""
    found = KernelCollector()
    split: set[str] = set()
    calls = [call for call in tree.kernel_calls if _QUANTISES.search(call.name)]
    into = {call.module for call in calls if _goes_into_experts(tree, call)}
    for call in calls:
        if call.module in into and not _goes_into_experts(tree, call):
            found.claim(call)  # between the products of experts, which are one definition
        else:
            _match(tree, call, serving, found, split)
    _add_told(tree, {call.module for call in calls}, serving, found, split)
    extraction = found.finish()
    kernels = (
        attrs.evolve(k, tags=(*k.tags, f"tp:{serving.ranks(k.facts['K'].origins)}"))
        if k.name in split
        else k
        for k in extraction.kernels
    )
    return attrs.evolve(extraction, kernels=tuple(kernels))


def _add_told(
    tree: ModelTree,
    called: set[str],
    serving: Serving,
    found: KernelCollector,
    split: set[str],
) -> None:
    """Add what linear layers of compressed-tensors run, whose calls are not followed.

    Which scheme such a layer has another package tells; how it quantises its input, the scheme.
    """
    for node in tree.walk():
        format_ = node.quantization
        if (
            not isinstance(format_, Quantization)
            or format_.method != _COMPRESSED
            or format_.activation is None
            or not node.calls
            or node.path in called
        ):
            continue
        try:
            layer = rank_sizes(node, serving)
            if layer is None:
                continue  # experts, which quantise between their products
            kind = _told_kind(format_)
            if kind is None:
                what = f"quantisation of the input of a {format_.weight_dtype} layer"
                found.not_covered(what, "its calls are not followed", node, op_types=())
                continue
            kernel = _kernel(node, kind, layer.k)
        except UndecidedError as why:
            found.problem("quantisation of a linear layer's input", str(why), node)
            continue
        found.add(kernel, node, beside=True)
        if "serving:tp" in kernel.facts["K"].origins:
            split.add(kernel.name)


def _told_kind(format_: Quantization) -> Kind | None:
    """The kind that a layer's format tells (`apply_weights` of SGLang's schemes)."""
    dynamic, whole = format_.activation == "dynamic", format_.scheme in ("channel", "tensor")
    if format_.weight_dtype == "float8_e4m3fn":
        if whole:
            return KINDS["per_token_quant_fp8" if dynamic else "static_quant_fp8"]
        block = format_.block
        if dynamic and format_.scheme == "block" and block is not None and block[1] in GROUPS:
            return KINDS[f"per_token_group_quant_fp8_g{block[1]}"]
    if format_.weight_dtype == "int8" and whole and dynamic:
        return KINDS["per_token_quant_int8"]
    return None


def _goes_into_experts(tree: ModelTree, call: Operation) -> bool:
    """Whether a call quantises the hidden states that a layer of experts is given."""
    node = tree.node_of(call)
    if node is None or not node.is_a(_EXPERTS):
        return False
    given = call.argument(0, "x", "input")
    width = given.shape[-1] if isinstance(given, TensorRef) and given.shape else None
    return isinstance(width, int) and width == node.argument("hidden_size")


def _match(
    tree: ModelTree, call: Operation, serving: Serving, found: KernelCollector, split: set[str]
) -> None:
    """Add the kernel of a call, or say why it has none."""
    try:
        read = _READERS.get(call.name)
        if read is None:
            raise _OtherFunctionError("it is none of the functions that this plugin knows")
        kind_of, place = read
        k = _row(tree, call, call.argument(place, "x", "input", "a", "x_ptr", "y_ptr"), serving)
        kernel = _kernel(call, kind_of(call, k.value), k)
    except _OtherFunctionError as other:
        found.not_covered(call.name, str(other), call)
    except UndecidedError as why:
        found.problem(f"{call.name} kernel", str(why), call)
    else:
        found.add(kernel, call)
        if "serving:tp" in kernel.facts["K"].origins:
            split.add(kernel.name)


def _kernel(call: Operation | ModuleNode, kind: Kind, k: Size) -> Kernel:
    if kind.group and k.value % kind.group:
        raise UndecidedError(f"rows of {k.value} elements are no groups of {kind.group}")
    tags = ["quantization:" + ("float4_e2m1" if kind.packed else kind.dtype)]
    if kind.flashinfer:
        tags.append(f"fi_api:flashinfer.{kind.flashinfer}")
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(kind, k.value),
        parameters={"kind": kind.name, "K": int(k.value)},
        facts=_facts(call, kind, k),
        uses=(),
        tags=tuple(tags),
    )


def _facts(call: Operation | ModuleNode, kind: Kind, k: Size) -> dict[str, Fact]:
    """A fact for each const axis; all follow from the length of a row."""
    found = {"K": fact(k.value, call, k.note, *k.sources)}
    for name, axis in axes(kind, k.value).items():
        if name != "K" and axis.value is not None:
            sources = () if name == "scalar" else k.sources
            found[name] = fact(axis.value, call, axis.description or "", *sources)
    return found


# --- the length of a row -------------------------------------------------------------------------


def _row(tree: ModelTree, call: Operation, given: object, serving: Serving) -> Size:
    """Elements of a row that is quantised: as the call says, else as its linear layer takes.

    Raises:
        UndecidedError: neither tells, or they say different sizes.
    """
    told = None
    if isinstance(given, TensorRef) and given.shape:
        last = given.shape[-1]
        if isinstance(last, int) and not isinstance(last, bool) and last > 0:
            told = Size(int(last), "the last size of what is quantised", (last,))
    node = tree.node_of(call)
    try:
        layer = None if node is None else rank_sizes(node, serving)
    except UndecidedError:  # the layer's ranks are not known, and the call may say what a rank has
        if told is None:
            raise
        return told
    if told is not None and layer is not None and layer.k.value != told.value:
        raise UndecidedError(f"rows of {told.value} elements in a layer of {layer.k.value}")
    if told is not None:
        return told
    if layer is None:
        raise UndecidedError(f"the size of what is quantised is not known: {given}")
    return layer.k


# --- the functions -------------------------------------------------------------------------------


def _per_group(call: Operation, k: int) -> Kind:
    """sglang_per_token_group_quant_fp8(x, group_size, eps, column_major, tma_aligned, ue8m0)."""
    group = _known(call, 1, "group_size", None)
    powers = _known(call, 5, "scale_ue8m0", default=False)
    if _known(call, 6, "fuse_silu_and_mul", default=False):
        raise _OtherFunctionError("it activates what it quantises; the op type has no such kernel")
    if group == k and not powers:
        return KINDS["per_token_quant_fp8"]
    return _group_kind(group, powers=bool(powers))


def _triton_per_group(call: Operation, k: int) -> Kind:  # noqa: ARG001 - all readers have it
    """_per_token_group_quant_8bit(y, y_q, y_s, y_stride, N, eps, ...): N is the group."""
    _fp8(call, 1, "y_q_ptr")
    return _group_kind(_known(call, 4, "N", None), powers=False)


def _triton_by_columns(call: Operation, k: int) -> Kind:  # noqa: ARG001 - all readers have it
    """_per_token_group_quant_8bit_colmajor(y, y_q, y_s, group_size, ...)."""
    _fp8(call, 1, "y_q_ptr")
    powers = _known(call, 13, "SCALE_UE8M0", default=False)
    return _group_kind(_known(call, 3, "group_size", None), powers=bool(powers))


def _group_kind(group: object, *, powers: bool) -> Kind:
    if group not in GROUPS:
        raise _OtherFunctionError(f"a scale covers {group} elements; no definition has such groups")
    return KINDS[f"per_token_group_quant_fp8{'_ue8m0' * powers}_g{group}"]


def _per_tensor(call: Operation, k: int) -> Kind:  # noqa: ARG001 - all readers have it
    """sgl_per_tensor_quant_fp8(input, output_q, output_s, is_static)."""
    static = _known(call, 3, "is_static", None)
    if not isinstance(static, bool):
        raise UndecidedError(f"is_static is {static}")
    return KINDS["static_quant_fp8" if static else "per_tensor_quant_fp8"]


def _fp4(call: Operation, k: int) -> Kind:  # noqa: ARG001 - all readers have it
    """fp4_quantize(input, global_scale, sf_vec_size, sf_use_ue8m0, ...)."""
    group = _known(call, 2, "sf_vec_size", 16)
    if group != 16 or _known(call, 3, "sf_use_ue8m0", default=False):
        raise _OtherFunctionError(f"groups of {group} are MXFP4's; the op type has no such kernel")
    return KINDS["nvfp4_quantize"]


def _always(name: str) -> Callable[[Operation, int], Kind]:
    def kind(call: Operation, k: int) -> Kind:  # noqa: ARG001 - all readers have them
        return KINDS[name]

    return kind


def _fp8(call: Operation, position: int, name: str) -> None:
    """Refuse a kernel for formats of 8 bits that does not write float8_e4m3fn here."""
    output = call.argument(position, name)
    dtype = output.dtype if isinstance(output, TensorRef) else None
    if dtype is None:
        raise UndecidedError(f"the dtype of {name} is not known")
    if dtype.rpartition(".")[2] != "float8_e4m3fn":
        raise _OtherFunctionError(f"it writes {dtype}; no definition has such groups")


def _known(call: Operation, position: int, name: str, default: Any) -> Any:
    """An argument that has to be known."""
    value = decided(call.argument(position, name), name)
    return default if value is None else value


_Reader = tuple[Callable[[Operation, int], Kind], int]
# Function to what tells its kind, and the position of what it quantises.
_READERS: dict[str, _Reader] = {
    "sglang_per_token_group_quant_fp8": (_per_group, 0),
    "per_token_group_quant_fp8": (_per_group, 0),
    "_per_token_group_quant_8bit": (_triton_per_group, 0),
    "_per_token_group_quant_8bit_colmajor": (_triton_by_columns, 0),
    "sglang_per_token_quant_fp8": (_always("per_token_quant_fp8"), 0),
    "sgl_per_token_quant_fp8": (_always("per_token_quant_fp8"), 0),
    "per_token_quant_int8": (_always("per_token_quant_int8"), 0),
    "sgl_per_tensor_quant_fp8": (_per_tensor, 0),
    "static_quant_fp8": (_always("static_quant_fp8"), 0),
    "mxfp8_quantize": (_always("mxfp8_quantize"), 0),
    "mxfp8_group_quantize": (_always("mxfp8_quantize"), 0),
    "nvfp4_quantize": (_always("nvfp4_quantize"), 0),
    "fp4_quantize": (_fp4, 0),
    "scaled_fp4_quant": (_always("nvfp4_quantize"), 0),
}
