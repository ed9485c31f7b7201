"""Finds hyper-connections in a model tree: calls of SGLang's functions on a layer's parameters.

A call behind the last layer makes one row of the streams, with a projection of its own; it runs
there. A fused call reads the weight of a norm besides, which its module does not compute by itself
then: that module is where the kernel runs. One without runs where the layer's projection is.

Streams that layers read and write in other ways are named: hyper-connections that leave them
unmixed, and alternating updates.
"""

from __future__ import annotations

import re

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Operation,
    ParameterRef,
    Scalar,
    Serving,
    UndecidedError,
    decided,
    decided_size,
    fact,
)
from fibcore_op_mhc.definitions import CONSTANTS, HEAD_CONSTANTS
from fibcore_op_mhc.names import FLASHINFER, FLASHINFER_STREAMS, OP_TYPE_OF, Kind, kernel_name

_PRE, _POST_PRE = "mhc_pre", "mhc_fused_post_pre"
# Those of streams that nothing mixes make the same row of them (`kernels/.../hy4_ihc.py`).
_HEAD = re.compile(r"^fused_(hc|\w+_ihc)_head$")
_TAKEN = ("fn", "hc_scale", "hc_base", *CONSTANTS[:5])
_SIGNATURES = {
    # Where SGLang's functions have what (`layers/mhc.py`, `kernels/ops/layernorm/mhc.py`).
    _PRE: ("residual", *_TAKEN),
    _POST_PRE: ("x", "residual", "post_layer_mix", "comb_res_mix", *_TAKEN),
}
# (`kernels/ops/layernorm/mhc_head.py`), and what the constants are called here.
_HEAD_SIGNATURE = ("x", "fn", "hc_scale", "hc_base", "norm_eps", "hc_eps")
_HEAD_NAMES = dict(zip(HEAD_CONSTANTS, ("norm_eps", "hc_eps"), strict=True))
_LIBRARY = "sglang."

# Hyper-connections whose streams pass a layer as they are, and get its output added.
_UNMIXED = re.compile(r"_ihc_pre$")
_NO_MATRIX = "streams pass the layer unmixed; those of the op types are mixed by a matrix"
# Alternating updates (https://arxiv.org/abs/2301.13310): what a module is called for, and what it
# projects to the coefficients by.
_UPDATES = {"predict": "prediction_coefs", "correct": "correction_coefs"}
_ROUTED = "a router of one stream gives the coefficients; those of the op types are of all streams"

_User = ModuleNode | Operation


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The kernels of hyper-connections in `tree`, with what runs each; all ranks run the same."""
    found = KernelCollector(lenient=CONSTANTS)
    calls: list[tuple[Operation, _User]] = []
    for call in tree.operations:
        if not call.function.startswith(_LIBRARY):
            continue
        if _HEAD.search(call.name):
            try:
                _add_head(tree, call, found)
            except UndecidedError as why:
                found.problem(f"{call.name} kernel", str(why), call)
        elif _UNMIXED.search(call.name):
            _name_unmixed(tree, call, found)
        elif call.name in _SIGNATURES:
            try:
                calls.append((call, _add(tree, call, found)))
            except UndecidedError as why:
                found.problem(f"{call.name} kernel", str(why), call)
    for call, user in _put_together(calls):
        found.add(_post(call), user)
    for node in tree.walk():
        _name_updates(node, found)
    return found.finish()


def _name_unmixed(tree: ModelTree, call: Operation, found: KernelCollector) -> None:
    """Name what a layer is given of streams that nothing mixes, and how they are put together."""
    for what in ("what a layer is given", "streams behind a layer"):
        owner = tree.node_of(call)
        name = f"hyper-connections without a matrix: {what}"
        found.not_covered(name, _NO_MATRIX, call if owner is None else owner)


def _name_updates(node: ModuleNode, found: KernelCollector) -> None:
    """Name alternating updates of streams, before a layer and behind it."""
    if not all(name in node.children for name in _UPDATES.values()):
        return
    for method in sorted({call.method for call in node.calls} & set(_UPDATES), reverse=True):
        found.not_covered(f"alternating updates of streams: {method}", _ROUTED, node)


def _put_together(calls: list[tuple[Operation, _User]]) -> list[tuple[Operation, _User]]:
    """Where a kernel of its own puts the streams together that a call took apart.

    Behind every layer, or, where that is done together with what the next layer is given, behind
    the last one alone.
    """
    fused = any(call.name == _POST_PRE for call, _ in calls)
    return calls[-1:] if fused else calls


def _add(tree: ModelTree, call: Operation, found: KernelCollector) -> _User:
    """Record the kernel of one call; what runs it."""
    weight = decided(call.kwargs.get("norm_weight"), "the weight of a norm inside")
    owner = tree.node_of(call)
    if owner is None:
        raise UndecidedError("the layer that calls it is not known")
    if weight is None and call.name == _POST_PRE:
        raise UndecidedError("it has no norm inside, which every known release gives it")
    user = _norm(tree, weight) if weight is not None else _at_projection(call)
    kind: Kind = "post_pre" if call.name == _POST_PRE else "pre" if weight is None else "pre_norm"
    found.add(_kernel(call, kind), user)
    found.claim(owner)
    return user


def _add_head(tree: ModelTree, call: Operation, found: KernelCollector) -> None:
    """Record the kernel behind the last layer, at the parameter that it projects with."""
    owner = tree.node_of(call)
    if owner is None:
        raise UndecidedError("the module that calls it is not known")
    given = {name: call.argument(at, name) for at, name in enumerate(_HEAD_SIGNATURE)}
    fn = given["fn"] = call.argument(1, "hc_fn")
    sizes = _head_sizes(call, fn)
    streams, hidden = int(sizes["hc"].value), int(sizes["hidden_size"].value)
    numbers = {name: _number(given[theirs], theirs) for name, theirs in _HEAD_NAMES.items()}
    kernel = Kernel(
        op_type=OP_TYPE_OF["head"],
        name=kernel_name("head", streams, hidden),
        parameters={"kind": "head", **{n: one.value for n, one in sizes.items()}, **numbers},
        facts={
            **sizes,
            **{n: fact(one, call, "", given[_HEAD_NAMES[n]]) for n, one in numbers.items()},
        },
        uses=(),
    )
    place = fn.path if isinstance(fn, ParameterRef) else call.module
    found.add(kernel, attrs.evolve(call, module=place))
    found.claim(owner)


def _norm(tree: ModelTree, weight: object) -> ModuleNode:
    """The module whose weight it is."""
    path = weight.path.rpartition(".")[0] if isinstance(weight, ParameterRef) else ""
    norm = tree.find(path) if path else None
    if norm is None:
        raise UndecidedError(f"the weight of a norm inside is {weight}")
    return norm


def _at_projection(call: Operation) -> Operation:
    """The call, at the parameter that it projects with: a layer calls it more than once."""
    fn = _given(call)["fn"]
    return attrs.evolve(call, module=fn.path) if isinstance(fn, ParameterRef) else call


def _given(call: Operation) -> dict[str, object]:
    names = _SIGNATURES[call.name]
    values = {name: call.argument(at, name) for at, name in enumerate(names)}
    return {**values, "norm_eps": call.kwargs.get("norm_eps")}


def _kernel(call: Operation, kind: Kind) -> Kernel:
    given = _given(call)
    sizes = _sizes(call, given["fn"])
    constants = CONSTANTS[:5] if kind == "pre" else CONSTANTS
    numbers: dict[str, Scalar] = {name: _number(given[name], name) for name in constants}
    facts = {
        **sizes,
        **{name: fact(number, call, "", given[name]) for name, number in numbers.items()},
    }
    streams, hidden = int(sizes["hc"].value), int(sizes["hidden_size"].value)
    return Kernel(
        op_type=OP_TYPE_OF[kind],
        name=kernel_name(kind, streams, hidden),
        parameters={"kind": kind, **{n: one.value for n, one in sizes.items()}, **numbers},
        facts=facts,
        uses=(),
        tags=_tags(kind, streams),
    )


def _post(call: Operation) -> Kernel:
    """The kernel that puts the streams together behind the layer that a call gives its input."""
    sizes = _sizes(call, _given(call)["fn"])
    facts = {name: sizes[name] for name in ("hc", "hidden_size")}
    streams, hidden = (int(one.value) for one in facts.values())
    return Kernel(
        op_type=OP_TYPE_OF["post"],
        name=kernel_name("post", streams, hidden),
        parameters={"kind": "post", "hc": streams, "hidden_size": hidden},
        facts=facts,
        uses=(),
        tags=_tags("post", streams),
    )


def _sizes(call: Operation, fn: object) -> dict[str, Fact]:
    """Const axes, from the sizes of the projection.

    Raises:
        UndecidedError: they are not known, or not those of any number of streams.
    """
    if not isinstance(fn, ParameterRef) or fn.shape is None or len(fn.shape) != 2:
        raise UndecidedError(f"the projection is {fn}")
    mix, whole = (decided_size(size, "a size of the projection") for size in fn.shape)
    streams = int((mix + 1) ** 0.5) - 1
    if streams < 1 or streams * (streams + 2) != mix or whole % streams:
        raise UndecidedError(f"a projection of {whole} to {mix} is not that of any streams")
    return {
        "hc": fact(streams, call, "the projection has hc * (hc + 2) rows", mix),
        "hidden_size": fact(whole // streams, call, "columns of the projection / hc", whole, mix),
        "mhc_mix": fact(mix, call, "rows of the projection"),
        "hc_hidden_size": fact(whole, call, "columns of the projection"),
        "scale_size": fact(3, call, "one for each part of what is projected"),
    }


def _head_sizes(call: Operation, fn: object) -> dict[str, Fact]:
    """Const axes of the kernel behind the last layer.

    Raises:
        UndecidedError: they are not known, or not those of one weight a stream.
    """
    if not isinstance(fn, ParameterRef) or fn.shape is None or len(fn.shape) != 2:
        raise UndecidedError(f"the projection is {fn}")
    streams, whole = (decided_size(size, "a size of the projection") for size in fn.shape)
    if whole % streams:
        raise UndecidedError(f"a projection of {whole} to {streams} is not that of any streams")
    return {
        "hc": fact(streams, call, "rows of the projection"),
        "hidden_size": fact(whole // streams, call, "columns of the projection / hc", whole),
        "hc_hidden_size": fact(whole, call, "columns of the projection"),
        "scale_size": fact(1, call, "one for all that is projected"),
    }


def _tags(kind: Kind, streams: int) -> tuple[str, ...]:
    api = FLASHINFER.get(kind) if streams == FLASHINFER_STREAMS else None
    return () if api is None else (f"fi_api:{api}",)


def _number(value: object, name: str) -> Scalar:
    known = decided(value, name)
    if isinstance(known, bool) or not isinstance(known, (int, float)) or known < 0:
        raise UndecidedError(f"{name} is {known!r}, not a number")
    return int(known) if name == "sinkhorn_repeat" else float(known)
