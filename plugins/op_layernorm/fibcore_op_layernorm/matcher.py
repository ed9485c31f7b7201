"""Finds the LayerNorm kernels of a model: which form each layer is, and whether it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Named,
    ParameterRef,
    Serving,
    UndecidedError,
    decided,
    fact,
    kernels_of_indexer,
)
from fibcore_op_layernorm.forms import Form, form_of
from fibcore_op_layernorm.names import OP_TYPE, kernel_name

_MODELS = "sglang.srt.models."
_TORCH = ("torch.nn.LayerNorm", "torch.nn.modules.normalization.LayerNorm")
# SGLang's layer: parameters are float32 unless `dtype` says otherwise.
_SGLANG = "sglang.srt.layers.layernorm.LayerNorm"
# Layers of models that have a weight and no bias, and compute in float32.
_NO_BIAS = {
    _MODELS + "commandr.LayerNorm": "param_shape",
    _MODELS + "cohere2_moe.Cohere2MoeLayerNorm": "hidden_size",
}
_KNOWN = frozenset({*_TORCH, _SGLANG, *_NO_BIAS})
_OTHER_NORM = re.compile(r"(Group|Batch|Instance)Norm|LayerNorm2d$")
_NAMED_SO = re.compile(r"^(?!.*([Gg]ated|RMS)).*LayerNorm")
_NO_ROWS = "its mean and variance are not those of rows; the op type has no such kernel"


class _OtherFunctionError(Exception):
    """The module computes something that is none of the forms."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The LayerNorms of `tree`, with every layer that runs each; parallel sizes change nothing."""
    found = KernelCollector(lenient=("eps",))
    handed = _handed(tree)
    for node in tree.walk():
        if not _KNOWN.isdisjoint((node.cls, *node.bases)):
            _match(tree, node, handed, found)
        elif not node.children and not any("RMSNorm" in cls for cls in node.bases):
            _name(node, found)
    return found.finish()


def _name(node: ModuleNode, found: KernelCollector) -> None:
    """Name a norm that is none of the known ones."""
    if _OTHER_NORM.search(node.class_name):
        found.not_covered(node.class_name, _NO_ROWS, node)
    elif _NAMED_SO.search(node.cls):
        reason = f"{node.cls} is none of the norms that this plugin knows"
        found.not_covered(node.class_name, reason, node)


def _handed(tree: ModelTree) -> Mapping[str, str]:
    """Path of a module to the function that the forward pass hands its parameters to."""
    functions: dict[str, str] = {}
    for operation in tree.operations:
        for value in (*operation.args, *operation.kwargs.values()):
            # Elementwise operations of torch are steps of something, and no kernel's name.
            if isinstance(value, ParameterRef) and not operation.function.startswith("torch."):
                name = operation.function.rpartition(".")[2]
                functions.setdefault(value.path.rpartition(".")[0], name)
    return functions


def _match(
    tree: ModelTree, node: ModuleNode, handed: Mapping[str, str], found: KernelCollector
) -> None:
    """Add the kernel of a layer, or say why it has none."""
    try:
        kernel = _kernel(node)
    except _OtherFunctionError as other:
        found.not_covered(node.class_name, str(other), node)
        return
    except UndecidedError as why:
        found.problem(f"{node.class_name} kernel", str(why), node)
        return
    if node.calls:
        found.add(kernel, node)
        return
    try:
        of_indexer = kernels_of_indexer(node, tree)
    except UndecidedError as why:
        found.problem(kernel.name, str(why), node)
        return
    if of_indexer == ():
        found.add(kernel, node)
        return
    holder = tree.parent(node.path)
    if of_indexer is not None:
        what = f"{kernel.name} inside {of_indexer[-1]}"
        reason = "one kernel computes it together with what comes before or after"
    elif node.path in handed:
        what = f"{kernel.name} inside {handed[node.path]}"
        reason = "one kernel computes it together with what comes before or after"
    elif node.idle:
        what = f"{kernel.name} that is not run"
        reason = "the forward pass does not call it; another kernel may read its parameters"
    elif holder is not None and holder.cls.startswith("sglang.srt.layers."):
        what = f"{kernel.name} inside {holder.class_name}"
        reason = "no call of it is known; that layer may run it in one kernel with what follows"
    else:
        found.problem(kernel.name, "no call of it was found in the forward pass", node)
        return
    found.not_covered(what, reason, node)


def _kernel(node: ModuleNode) -> Kernel:
    """The kernel that a layer runs; its numbers keep the config keys that they came from.

    Raises:
        _OtherFunctionError: the layer computes another function.
        UndecidedError: an argument is not known.
    """
    form, hidden_size = _form(node), _row(node)
    eps = decided(node.argument("eps", None), "eps")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise UndecidedError(f"eps is {eps!r}, not a small number")
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(form, hidden_size),
        parameters={"form": form.name, "hidden_size": int(hidden_size), "eps": float(eps)},
        facts={
            "hidden_size": fact(hidden_size, node, "elements of a row that is normalised"),
            "eps": fact(eps, node, "added to the variance, below the root"),
        },
        uses=(),
        tags=("fi_api:flashinfer.norm.layernorm",) if form.name == "layernorm" else (),
    )


def _form(node: ModuleNode) -> Form:
    """Which parameters the layer has, and of which dtype."""
    parameters: tuple[str, ...]
    if node.cls in _NO_BIAS:
        parameters, dtype = ("weight",), "bfloat16"
    elif node.cls in _TORCH or node.cls == _SGLANG:
        affine = _flag(node, "elementwise_affine")
        bias = affine if node.cls in _TORCH else True
        bias = _flag(node, "bias") and bias
        parameters = ("weight",) * affine + ("bias",) * bias
        dtype = _dtype(node, "float32" if node.cls == _SGLANG else "bfloat16")
    else:
        base = next(b for b in node.bases if b in _KNOWN)
        raise _OtherFunctionError(
            f"{node.cls} derives from {base.rpartition('.')[2]} and may change what it computes"
        )
    form = form_of(parameters, dtype)
    if form is None:
        has = f"{dtype} {' and '.join(parameters)}"
        raise _OtherFunctionError(f"it has {has}; the op type has no such kernel")
    return form


def _dtype(node: ModuleNode, default: str) -> str:
    """The dtype of the parameters; the model's own is bfloat16 here, as in the dataset."""
    given = decided(node.argument("dtype", None), "dtype")
    if given is None:
        return default
    if not isinstance(given, Named):
        raise UndecidedError(f"dtype is {given!r}")
    name = given.name.rpartition(".")[2]
    return "bfloat16" if name == "float16" else name


def _row(node: ModuleNode) -> int:
    """Elements of a row. A shape of several dimensions, as of one weight a head, is another op."""
    names = ("normalized_shape",) if node.cls in _TORCH else ("hidden_size",)
    (name,) = (_NO_BIAS[node.cls],) if node.cls in _NO_BIAS else names
    value = decided(node.argument(name, None), name)
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            listed = " x ".join(map(str, value))
            raise _OtherFunctionError(
                f"its parameters are {listed}; the op type has no such kernel"
            )
        (value,) = value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UndecidedError(f"{name} is {value!r}, not a positive number")
    return value


def _flag(node: ModuleNode, name: str) -> bool:
    value = decided(node.argument(name, True), name)
    if not isinstance(value, bool):
        raise UndecidedError(f"{name} is {value!r}, neither True nor False")
    return value
