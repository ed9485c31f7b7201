"""Finds the gated norms of a model, behind linear attention and behind state spaces.

SGLang has three classes. `layernorm_gated.RMSNorm` and `FusedRMSNormGated` normalise heads of
linear attention and multiply by an activation of the gate behind it. `Mixer2RMSNormGated` of
Mamba 2 multiplies first, and normalises groups of the channels that a rank has, or nothing.
"""

from __future__ import annotations

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
    ParameterRef,
    Serving,
    UndecidedError,
    Unknown,
    decided,
    decided_size,
    fact,
    origins_of,
    possible_values,
    with_origins,
)
from fibcore_op_gated_rmsnorm.names import ACTIVATIONS, OP_TYPE, SILU_GATE, Shape

_ROWS = "layernorm_gated.RMSNorm"
_FUSED = "FusedRMSNormGated"
_MIXER = "Mixer2RMSNormGated"
# One that projects its gate from what it has normalised, by linear layers of its own.
_OWN_GATE = "GatedRMSNorm"
_PROJECTED = "its gate is projected from the row itself; no definition has such a gate"
_SILU = "swish"
_ONES = "it has no weight: the kernel's is all ones"
# A backend runs these, and their norm with its gate.
_HOLDERS = ("MambaMixer2",)


class _OtherFunction(Exception):
    """The module computes something that is not this kernel."""


@attrs.frozen
class _Norm:
    """What a constructor says: the kernel's shape, a fact for each constant, notes."""

    shape: Shape
    facts: dict[str, Fact]
    notes: tuple[str, ...] = ()


_Reader = Callable[[ModuleNode, ModuleNode | None], _Norm]
"""Reads the constructor of a norm; what holds it is given besides."""


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The gated norms of `tree`, with every layer that runs each."""
    found = KernelCollector(lenient=("eps",))
    for node in tree.walk():
        classes = (node.cls, *node.bases)
        for name, read in _CLASSES.items():
            if any(cls.endswith(f".{name}") for cls in classes):
                _match(node, tree, serving, read, found)
        if node.class_name.endswith(_OWN_GATE) and node.children and node.calls:
            found.not_covered(f"{node.class_name} with a gate of its own", _PROJECTED, node)
    return found.finish()


def _match(
    node: ModuleNode,
    tree: ModelTree,
    serving: Serving,
    read: _Reader,
    found: KernelCollector,
) -> None:
    """Add the kernel of a layer, or say why it has none."""
    if node.idle:
        found.not_covered(
            f"{node.class_name} that is not run",
            "the forward pass does not call it; another kernel may read its weight",
            node,
        )
        return
    try:
        holder = tree.parent(node.path)
        _check_calls(node, holder)
        if read is _mixer and not decided(_given(node, "use_rms_norm", True), "use_rms_norm"):
            found.add(_gate(node, holder, serving), node)
            return
        norm = read(node, holder)
        eps = _epsilon(node)
    except _OtherFunction as other:
        found.not_covered(f"{node.class_name} {other}", "no definition has this form", node)
        return
    except UndecidedError as why:
        found.problem("gated RMSNorm", str(why), node)
        return
    found.add(_kernel(node, serving, norm, eps), node)


def _kernel(node: ModuleNode, serving: Serving, norm: _Norm, eps: float) -> Kernel:
    shape = norm.shape
    ranks = serving.ranks(origins_of(shape.hidden_size))
    return Kernel(
        op_type=OP_TYPE,
        name=shape.name,
        parameters={
            "hidden_size": int(shape.hidden_size),
            "group_size": int(shape.group_size),
            "activation": shape.activation,
            "gate_first": shape.gate_first,
            "eps": float(eps),
        },
        facts={**norm.facts, "eps": fact(eps, node, "added to the mean square, below the root")},
        uses=(),
        tags=(f"tp:{ranks}",) if ranks > 1 else (),
        notes=norm.notes,
    )


def _check_calls(node: ModuleNode, holder: ModuleNode | None) -> None:
    """Whether the forward pass gives a gate, and no residual.

    Raises:
        _OtherFunction: it gives none, or something besides.
        UndecidedError: no call is known, or not what it gives.
    """
    if not node.calls:
        if holder is not None and any(holder.is_a(cls) for cls in _HOLDERS) and not holder.idle:
            return  # the backend runs the mixer, with its gate
        raise UndecidedError("no call of it was found in the forward pass")
    for call in node.calls:
        for gate in possible_values(call.argument(1, "g" if "g" in call.kwargs else "z")):
            if gate is None:
                raise _OtherFunction("without a gate")
            if isinstance(gate, Unknown) and not gate.is_tensor:
                raise UndecidedError(f"whether it gets a gate: {gate} in the call at {call.place}")
        residual = call.argument(2, "residual")
        if any(value is not None for value in possible_values(residual)):
            raise _OtherFunction("with a residual")


# --- constructors ------------------------------------------------------------------------------


def _given(node: ModuleNode, name: str, default: Any = None) -> Any:
    """What the layer has under a name where its constructor ran, else the argument."""
    return node.attributes[name] if name in node.attributes else node.argument(name, default)


def _ranks(node: ModuleNode, holder: ModuleNode | None) -> int:
    kept = node if holder is None or "tp_size" in node.attributes else holder
    return decided_size(kept.attributes.get("tp_size"), "tp_size")


def _gate(node: ModuleNode, holder: ModuleNode | None, serving: Serving) -> Kernel:
    """The kernel of a mixer that multiplies by its gate and normalises nothing."""
    full = decided_size(node.argument("full_hidden_size"), "full_hidden_size")
    ranks = _ranks(node, holder)
    if full % ranks:
        raise UndecidedError(f"{full} channels do not fit {ranks} ranks")
    size = _part(full, ranks)
    shared = serving.ranks(origins_of(size))
    return Kernel(
        op_type=SILU_GATE,
        name=f"{SILU_GATE}_h{size}",
        parameters={"hidden_size": int(size)},
        facts={"hidden_size": fact(size, node, "elements of a row of one rank")},
        uses=(),
        tags=(f"tp:{shared}",) if shared > 1 else (),
    )


def _rows(node: ModuleNode, _: ModuleNode | None) -> _Norm:
    hidden = decided_size(_given(node, "hidden_size"), "hidden_size")
    group = decided(_given(node, "group_size"), "group_size")
    group = hidden if group is None else decided_size(group, "group_size")
    first = decided(_given(node, "norm_before_gate", True), "norm_before_gate")
    if not isinstance(first, bool):
        raise UndecidedError(f"norm_before_gate is {first!r}")
    return _norm(node, hidden, group, _activation(node), gate_first=not first)


def _fused(node: ModuleNode, _: ModuleNode | None) -> _Norm:
    hidden = decided_size(_given(node, "hidden_size"), "hidden_size")
    affine = decided(_given(node, "elementwise_affine", True), "elementwise_affine")
    if not isinstance(affine, bool):
        raise UndecidedError(f"elementwise_affine is {affine!r}")
    norm = _norm(node, hidden, hidden, _activation(node), gate_first=False)
    return norm if affine else attrs.evolve(norm, notes=(_ONES,))


def _mixer(node: ModuleNode, holder: ModuleNode | None) -> _Norm:
    full = decided_size(node.argument("full_hidden_size"), "full_hidden_size")
    groups = decided_size(node.argument("full_n_groups"), "full_n_groups")
    ranks = _ranks(node, holder)
    if full % ranks or full % groups:
        raise UndecidedError(f"{full} channels do not fit {groups} groups on {ranks} ranks")
    if groups % ranks:
        raise _OtherFunction("whose groups are shared by ranks")
    return _norm(node, _part(full, ranks), _part(full, groups), _SILU, gate_first=True)


_CLASSES: dict[str, _Reader] = {_ROWS: _rows, _FUSED: _fused, _MIXER: _mixer}
"""How the constructor of each class, or of one that derives from it, is read."""


def _part(whole: int, parts: int) -> int:
    """One of equal parts, with the origins of both numbers."""
    size: int = with_origins(int(whole) // int(parts), origins_of(whole) | origins_of(parts))
    return size


def _activation(node: ModuleNode) -> str:
    # Releases without the argument have SiLU alone.
    return str(decided(_given(node, "activation", _SILU), "activation"))


def _norm(node: ModuleNode, hidden: int, group: int, activation: str, *, gate_first: bool) -> _Norm:
    if activation not in ACTIVATIONS:
        raise _OtherFunction(f"with activation {activation}")
    if hidden % group:
        raise UndecidedError(f"{hidden} elements do not fit groups of {group}")
    weight = node.attributes.get("weight")
    if isinstance(weight, ParameterRef) and weight.dtype not in (None, "bfloat16", "float16"):
        raise _OtherFunction(f"whose weight is {weight.dtype}")
    facts = {"hidden_size": fact(hidden, node, "elements of a row of one rank")}
    if group != hidden:
        facts["group_size"] = fact(group, node, "elements that are normalised together")
        facts["num_groups"] = fact(_part(hidden, group), node, "groups of a row of one rank")
    return _Norm(Shape(hidden, group, ACTIVATIONS[activation], gate_first), facts)


def _epsilon(node: ModuleNode) -> float:
    value = decided(_given(node, "eps", _given(node, "variance_epsilon")), "eps")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UndecidedError(f"eps is {value!r}, not a small number")
    return value
