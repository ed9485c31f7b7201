"""Finds the activations of a model: which function each module is, and how wide its rows are."""

from __future__ import annotations

import re

import attrs

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Operation,
    Serving,
    UndecidedError,
    decided,
    fact,
)
from fibcore_op_activation.kinds import KINDS, Kind
from fibcore_op_activation.names import OP_TYPE, kernel_name
from fibcore_op_activation.widths import Linear, NoLinearError, producer

_LAYERS = "sglang.srt.layers.activation."
_TORCH = ("torch.nn.", "torch.nn.modules.activation.")

# Classes that compute one function whatever their arguments are.
_PLAIN = {
    _LAYERS + "SiluAndMul": "silu_and_mul",
    _LAYERS + "NewGELU": "gelu_tanh",
    _LAYERS + "QuickGELU": "quick_gelu",
    _LAYERS + "ReLU2": "relu2",
    # transformers calls one function by two names, from release to release.
    "transformers.activations.GELUTanh": "gelu_tanh",
    "transformers.activations.PytorchGELUTanh": "gelu_tanh",
    "transformers.activations.NewGELUActivation": "gelu_tanh",
    "transformers.activations.QuickGELUActivation": "quick_gelu",
    "transformers.activations.GELUActivation": "gelu",
    **{module + "SiLU": "silu" for module in _TORCH},
    **{module + "ReLU": "relu" for module in _TORCH},
}
# Classes with an argument that says which form of GELU, and the form that they have without it.
_GELU = {
    _LAYERS + "GeluAndMul": ("{}_and_mul", "tanh"),
    **{module + "GELU": ("{}", "none") for module in _TORCH},
}
_FORMS = {"none": "gelu", "tanh": "gelu_tanh"}
# What SGLang's modules that are one kernel derive from.
_FUSED_OP = "BaseFusedOp"
_SITU = _LAYERS + "SituAndMul"
# Functions with numbers that are learnt.
_LEARNT = {
    _LAYERS + "XIELU": "two numbers of its formula are weights",
    _LAYERS + "ScaledActivation": "it divides by a weight",
}
# Linear layers that clamp the rows which they get and give, each a module around one (Gemma 4).
_CLAMPING = "sglang.srt.layers.clippable_linear.Clippable"
# Kernels that multiply what attention gives by a gate, to which they add a weight of their caller.
_GATE = re.compile(r"AttentionGate\w*$")
_BIASED = "the gate has a bias for each head, by a sigmoid; the op type has no such kernel"
_KNOWN = frozenset({*_PLAIN, *_GELU, _SITU, *_LEARNT})
# Functions that models call in the place of a module: the kind, and where its scalars are given.
# gemm1_beta is what is added to up, which is 1.
_FUNCTIONS: dict[str, tuple[str, dict[str, tuple[int, str]]]] = {
    "silu_and_mul_clamp": ("silu_and_mul_clamp", {"limit": (2, "swiglu_limit")}),
    "swiglu_no_interleaved_with_alpha_and_limit": (
        "swiglu_oai_and_mul",
        {"alpha": (1, "gemm1_alpha"), "limit": (2, "gemm1_limit")},
    ),
}
# A routed expert that is a module of its own: its weights go to one kernel with all the others'.
_EXPERT = re.compile(r"(^|\.)experts\.\d+\.")


@attrs.frozen
class _Activation:
    """What a module computes: the kind, and the values of its scalars."""

    kind: Kind
    scalars: dict[str, float] = attrs.field(factory=dict)


class _OtherFunctionError(Exception):
    """The module computes something that is none of the kinds."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The activations of `tree`, as one rank runs them, with every layer that runs each."""
    found = KernelCollector(lenient=("beta", "linear_beta", "alpha", "limit"))
    split: dict[str, int] = {}
    calls = [call for call in tree.kernel_calls if call.beside and call.name in _FUNCTIONS]
    for call in calls:
        _match_call(tree, call, serving, found, split)
    instead = {call.module for call in calls}
    for node in tree.walk():
        if node.cls.startswith(_CLAMPING):
            reason = "its bounds are weights, by torch.clamp; the op type has no such kernel"
            found.not_covered("clamp of a linear layer's rows", reason, node)
            continue
        if node.is_a(_FUSED_OP) and _GATE.search(node.class_name) and node.calls:
            found.not_covered("gate of attention with a bias", _BIASED, node)
            continue
        if _KNOWN.isdisjoint((node.cls, *node.bases)):
            continue
        if not node.calls and _EXPERT.search(node.path):
            found.claim(node)
        elif node.idle and node.path.rpartition(".")[0] in instead:
            found.claim(node)  # the function stands in its place
        else:
            _match(tree, node, serving, found, split)
    extraction = found.finish()
    kernels = (
        attrs.evolve(k, tags=(*k.tags, f"tp:{split[k.name]}")) if k.name in split else k
        for k in extraction.kernels
    )
    return attrs.evolve(extraction, kernels=tuple(kernels))


def _match_call(
    tree: ModelTree,
    call: Operation,
    serving: Serving,
    found: KernelCollector,
    split: dict[str, int],
) -> None:
    """Add the kernel of a call of a function, or say why it has none."""
    name, scalars = _FUNCTIONS[call.name]
    try:
        given = {n: decided(call.argument(*at), n) for n, at in scalars.items()}
        activation = _Activation(KINDS[name], {n: _number(n, v) for n, v in given.items()})
        _add(tree, call, activation, serving, found, split)
    except NoLinearError:
        reason = "no linear layer is beside it, so its rows are those of another operation"
        found.claim(call)
        found.not_covered(f"{call.name} outside of feed-forward layers", reason, call)
    except UndecidedError as why:
        found.problem(f"{call.name} kernel", str(why), call)


def _add(
    tree: ModelTree,
    node: ModuleNode | Operation,
    activation: _Activation,
    serving: Serving,
    found: KernelCollector,
    split: dict[str, int],
) -> None:
    """Add the kernel of an activation.

    Raises:
        NoLinearError, UndecidedError: as `producer` has it.
    """
    first = producer(tree, node, serving, gated=activation.kind.gated)
    kernel = _kernel(node, activation, first)
    found.add(kernel, node)
    if first.splits_rows:
        origins = frozenset().union(*(fact.origins for fact in kernel.facts.values()))
        split[kernel.name] = serving.ranks(origins)


def _match(
    tree: ModelTree,
    node: ModuleNode,
    serving: Serving,
    found: KernelCollector,
    split: dict[str, int],
) -> None:
    """Add the kernel of a module, or say why it has none."""
    what = f"{node.class_name} kernel"
    if node.idle:
        reason = "the forward pass does not call it; another kernel may compute the same"
        found.not_covered(f"{node.class_name} that is not run", reason, node)
        return
    try:
        activation = _activation(node)
        if not node.calls:
            raise UndecidedError("no call of it was found in the forward pass")
        _add(tree, node, activation, serving, found, split)
    except NoLinearError:
        reason = "no linear layer is beside it, so its rows are those of another operation"
        found.not_covered(f"{node.class_name} outside of feed-forward layers", reason, node)
    except _OtherFunctionError as other:
        found.not_covered(node.class_name, str(other), node)
    except UndecidedError as why:
        found.problem(what, str(why), node)


def _kernel(node: ModuleNode | Operation, activation: _Activation, first: Linear) -> Kernel:
    kind, width = activation.kind, first.width
    api = (f"fi_api:flashinfer.activation.{kind.name}",) if kind.flashinfer else ()
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(kind, width.value),
        parameters={"kind": kind.name, "width": width.value, **activation.scalars},
        facts={
            kind.width: width.fact(node),
            **{name: fact(value, node) for name, value in activation.scalars.items()},
        },
        uses=(),
        tags=api,
    )


def _activation(node: ModuleNode) -> _Activation:
    """What the module's class and arguments say.

    Raises:
        _OtherFunctionError: it is another function.
        UndecidedError: an argument is not known.
    """
    if node.cls in _PLAIN:
        return _Activation(KINDS[_PLAIN[node.cls]])
    if node.cls in _GELU:
        name, default = _GELU[node.cls]
        form = decided(node.argument("approximate", default), "approximate")
        if form not in _FORMS:
            raise UndecidedError(f"approximate is {form!r}, neither 'none' nor 'tanh'")
        return _Activation(KINDS[name.format(_FORMS[form])])
    if node.cls == _SITU:
        bounds = {
            name: decided(node.argument(name, None), name) for name in KINDS["situ_and_mul"].scalars
        }
        if bounds["linear_beta"] is None:
            raise _OtherFunctionError("its second half has no bound; no definition has this form")
        return _Activation(KINDS["situ_and_mul"], {n: _number(n, v) for n, v in bounds.items()})
    if node.cls in _LEARNT:
        raise _OtherFunctionError(f"{_LEARNT[node.cls]}; the op type has no such kernel")
    known = next(base for base in node.bases if base in _KNOWN)
    raise _OtherFunctionError(
        f"{node.cls} derives from {known.rpartition('.')[2]} and may change what it computes"
    )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UndecidedError(f"{name} is {value!r}, not a positive number")
    return value
