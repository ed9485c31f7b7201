"""Finds the gated delta rule in a model tree.

Every layer of SGLang that runs it is a `RadixLinearAttention` (`srt/layers/`), whichever backend
the server chooses. Its head counts are those of one tensor-parallel rank. What it is given tells
which rule it is: `dt_bias` has a number for each value head (Gated DeltaNet), or one for each
channel of each head (Kimi Delta Attention).
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ParameterRef,
    Serving,
    UndecidedError,
    decided,
    decided_size,
    fact,
    origins_of,
)
from fibcore_op_gdn.names import FORMS, OP_TYPE, Form, Gate, kernel_name

_CLASS = "RadixLinearAttention"
_NO_DEFINITION = "gdn and kda definitions have heads of one size, for keys and values alike"
# A step runs tokens one by one, or verifies drafts.
_CHOICE = "gated delta rule of {stage}"


@attrs.frozen
class _Rule:
    """What a layer's arguments say."""

    gate: Gate
    qk_heads: int
    v_heads: int
    head_size: int
    bound: float | None


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of `tree`, with every layer that runs each."""
    found = KernelCollector()
    notes = _notes(tree)
    for node in tree.walk():
        if node.is_a(_CLASS):
            _match(node, serving, notes, found)
    return found.finish()


def _notes(tree: ModelTree) -> tuple[str, ...]:
    """What the config says of the state's dtype, where it is another than the definitions'."""
    config: Any = tree.config
    for section in (config, config.get("text_config")):
        dtype = section.get("mamba_ssm_dtype") if isinstance(section, dict) else None
        if isinstance(dtype, str) and dtype != "float32":
            return (f"the config's mamba_ssm_dtype is {dtype}: SGLang keeps states so",)
    return ()


def _match(
    node: ModuleNode, serving: Serving, notes: tuple[str, ...], found: KernelCollector
) -> None:
    """Add the kernels of a layer, or say why it has none."""
    if node.idle:
        found.not_covered(
            f"{node.class_name} that is not run", "the forward pass does not call it", node
        )
        return
    try:
        rule = _rule(node)
    except _OtherFunction as other:
        found.not_covered(f"{node.class_name} {other}", _NO_DEFINITION, node)
        return
    except UndecidedError as why:
        found.problem("gated delta rule", str(why), node)
        return
    for form, kind in FORMS.items():
        if kind.stage in serving.stages:
            found.add(attrs.evolve(_kernel(node, serving, rule, form), notes=notes), node)
    found.claim(node)


class _OtherFunction(Exception):
    """The layer computes something that is not this kernel."""


def _given(node: ModuleNode, name: str) -> Any:
    """An argument, or what the model set in its place later."""
    return node.attributes[name] if name in node.attributes else node.argument(name)


def _rule(node: ModuleNode) -> _Rule:
    """What the arguments say.

    Raises:
        _OtherFunction: the layer has no such gates or sizes.
        UndecidedError: an argument is not known.
    """
    q_heads, k_heads, v_heads, q_dim, k_dim, v_dim = (
        decided_size(_given(node, name), name)
        for name in (
            *("num_q_heads", "num_k_heads", "num_v_heads"),
            *("head_q_dim", "head_k_dim", "head_v_dim"),
        )
    )
    if not q_dim == k_dim == v_dim:
        raise _OtherFunction(f"with heads of {k_dim} for keys and {v_dim} for values")
    if q_heads != k_heads or v_heads % k_heads:
        raise UndecidedError(
            f"{q_heads} query heads, {k_heads} key heads and {v_heads} value heads do not fit"
        )
    bound = decided(_given(node, "lower_bound"), "lower_bound")
    if bound is not None and (not isinstance(bound, int | float) or not -1e3 < bound < 0):
        raise UndecidedError(f"lower_bound is {bound!r}, not a negative number")
    gate = _gate(node, v_heads, k_dim)
    if gate == "head" and bound is not None:
        raise _OtherFunction("with bounded gates of heads")
    return _Rule(gate, k_heads, v_heads, k_dim, bound)


def _gate(node: ModuleNode, heads: int, head_size: int) -> Gate:
    """Whether a head has one gate, or each of its channels."""
    for name, sizes in (("A_log", (heads,)), ("dt_bias", (heads, heads * head_size))):
        value = decided(_given(node, name), name)
        if value is None:
            raise _OtherFunction(f"without {name}")
        count = _elements(value)
        if count is None:
            raise UndecidedError(f"how many numbers {name} has is not known: {value}")
        if count not in sizes:
            raise UndecidedError(
                f"{name} has {count} numbers, with {heads} heads of {head_size} elements"
            )
    return "head" if count == heads else "channel"


def _elements(value: Any) -> int | None:
    """How many numbers a parameter has; None where that is not known."""
    if not isinstance(value, ParameterRef) or value.shape is None:
        return None
    sizes = [int(size) for size in value.shape if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(value.shape) else None


def _kernel(node: ModuleNode, serving: Serving, rule: _Rule, form: Form) -> Kernel:
    """The kernel of a layer in one form, with a fact for each constant."""
    ranks = serving.ranks(origins_of(rule.v_heads))
    kind, rank = FORMS[form], f"of one of {ranks} tensor-parallel ranks"
    facts = {
        "num_q_heads": fact(rule.qk_heads, node, f"query heads {rank}"),
        "num_k_heads": fact(rule.qk_heads, node, f"key heads {rank}, as many as query heads"),
        "num_v_heads": fact(rule.v_heads, node, f"value heads {rank}"),
        "head_size": fact(rule.head_size, node, "size of a query, key and value head"),
    }
    if form == "decode":
        facts["seq_len"] = fact(1, node, "a decode step has one token of each sequence")
    parameters: dict[str, int | float | str | bool] = {
        "gate": rule.gate,
        "form": form,
        "qk_heads": int(rule.qk_heads),
        "v_heads": int(rule.v_heads),
        "head_size": int(rule.head_size),
    }
    if rule.bound is not None:
        parameters["lower_bound"] = float(rule.bound)
        facts["lower_bound"] = fact(rule.bound, node, "what log alpha is never below")
    api = kind.flashinfer.get(rule.gate)
    return Kernel(
        op_type=OP_TYPE[rule.gate],
        name=kernel_name(rule.gate, form, rule.qk_heads, rule.v_heads, rule.head_size, rule.bound),
        parameters=parameters,
        facts=facts,
        uses=(),
        tags=(
            f"stage:{kind.stage}",
            "layout:k-last",
            f"tp:{ranks}",
            *(() if api is None else (f"fi_api:{api}",)),
        ),
        choice=_CHOICE.format(stage=kind.stage),
    )
