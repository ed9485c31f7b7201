"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import cast

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    joined,
    not_a_multiple,
    render,
    scalar,
    select,
    tensor,
    var,
)
from fibcore_op_gdn.names import FORMS, GATE, Form, Gate

_WORDS = ("channel", "bounded")
_ROWS: dict[Form, str] = {
    "decode": "batch_size seq_len",
    "mtp": "batch_size seq_len",
    "prefill": "total_seq_len",
}
_STATE = "num_v_heads head_size head_size"
_CONSTRAINTS = (
    "num_v_heads >= num_q_heads",
    "num_v_heads % num_q_heads == 0",
    "num_k_heads == num_q_heads",
)
_MORE_CONSTRAINTS: dict[Form, tuple[str, ...]] = {
    "decode": (),
    "mtp": ("seq_len > 1",),
    "prefill": ("len_cu_seqlens == num_seqs + 1", "total_seq_len == cu_seqlens[-1].item()"),
}
_WHAT: dict[Form, str] = {
    "decode": "one token of each sequence",
    "mtp": "a few tokens of each sequence, as drafts are verified, with states in a pool",
    "prefill": "whole sequences, one after the other",
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Those of `gdn` have the published dataset's axes and tensors; those of `kda` differ in what
    gates have: a [..., num_v_heads, head_size] and dt_bias [num_v_heads, head_size].
    """
    gate = cast(Gate, kernel.parameters["gate"])
    form = cast(Form, kernel.parameters["form"])
    sizes = {
        "num_q_heads": int(kernel.parameters["qk_heads"]),
        "num_k_heads": int(kernel.parameters["qk_heads"]),
        "num_v_heads": int(kernel.parameters["v_heads"]),
        "head_size": int(kernel.parameters["head_size"]),
    }
    bound = kernel.parameters.get("lower_bound")
    inputs, outputs = _tensors(gate, form)
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=_description(gate, form, None if bound is None else float(bound)),
        tags=kernel.tags,
        axes=_axes(form, sizes),
        constraints=(*_CONSTRAINTS, *_MORE_CONSTRAINTS[form]),
        inputs=inputs,
        outputs=outputs,
        reference=_reference(gate, form, sizes, None if bound is None else float(bound)),
    )


def _description(gate: Gate, form: Form, bound: float | None) -> str:
    softplus = "-exp(A_log) * softplus(a + dt_bias)"
    bounded = f"{bound} * sigmoid(exp(A_log) * (a + dt_bias))"
    alpha = softplus if bound is None else bounded
    lengths = (
        "Queries and keys are taken as they are; a model's have length 1."
        if gate == "head"
        else "Queries and keys are brought to length 1 first (epsilon 1e-06 below the root)."
    )
    of = "value head" if gate == "head" else "channel of the keys"
    return (
        f"Gated delta rule with a gate for each {of}, {_WHAT[form]}: S' = alpha * S, "
        "S_new = S' + beta * (v - S' k) k^T, output = scale * S_new q, with log alpha = "
        f"{alpha} and beta = sigmoid(b). A state is [V, K]. {lengths}"
    )


def _axes(form: Form, sizes: Mapping[str, int]) -> dict[str, Axis]:
    described = {
        "num_q_heads": "Query heads of a rank.",
        "num_k_heads": "Key heads of a rank, as many as query heads.",
        "num_v_heads": "Value heads of a rank; consecutive ones share a query and key head.",
        "head_size": "Elements of a query, key and value head.",
    }
    constants = {name: const(size, described[name]) for name, size in sizes.items()}
    if form == "decode":
        return {
            "batch_size": var("Sequences."),
            "seq_len": const(1, "Tokens of each sequence."),
            **constants,
        }
    if form == "mtp":
        return {
            "batch_size": var("Sequences."),
            "seq_len": var("Tokens of each sequence, more than 1."),
            **constants,
            "pool_size": var("States in the pool."),
        }
    return {
        "total_seq_len": var("Tokens of all sequences."),
        "num_seqs": var("Sequences."),
        **constants,
        "len_cu_seqlens": var("Length of cu_seqlens, num_seqs + 1."),
    }


def _tensors(gate: Gate, form: Form) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    rows, names = _ROWS[form], FORMS[form].inputs
    gates = "num_v_heads" if gate == "head" else "num_v_heads head_size"
    states = {"decode": "batch_size", "mtp": "pool_size", "prefill": "num_seqs"}[form]
    every = {
        "q": tensor(f"{rows} num_q_heads head_size", "bfloat16", "Queries."),
        "k": tensor(f"{rows} num_k_heads head_size", "bfloat16", "Keys."),
        "v": tensor(f"{rows} num_v_heads head_size", "bfloat16", "Values."),
        "state": tensor(f"{states} {_STATE}", "float32", "States before the tokens, [V, K]."),
        "initial_state": tensor(f"{states} {_STATE}", "float32", "Pool of states, [V, K]."),
        "initial_state_indices": tensor(
            "batch_size",
            "int32",
            "Place of each sequence's state in the pool, each another one; -1 for a row that is "
            "padding, whose output is 0.",
        ),
        "A_log": tensor("num_v_heads", "float32", "Logarithm of each head's rate of decay."),
        "a": tensor(f"{rows} {gates}", "bfloat16", "What the token adds to dt_bias."),
        "dt_bias": tensor(gates, "float32", "Bias of the gates."),
        "b": tensor(f"{rows} num_v_heads", "bfloat16", "beta is its sigmoid."),
        "cu_seqlens": tensor(
            "len_cu_seqlens", "int64", "Where sequences begin among the tokens, and their end."
        ),
        "scale": scalar("float32", "Factor of the output."),
        "intermediate_states_buffer": tensor(
            f"pool_size seq_len {_STATE}",
            "float32",
            "Where a kernel keeps the states behind each token, which nothing reads here.",
        ),
    }
    output, state = FORMS[form].outputs
    behind = {
        "decode": "States behind the token.",
        "mtp": "The pool, with states behind the tokens.",
        "prefill": "States behind the sequences; one without tokens keeps its state.",
    }
    return {name: every[name] for name in names}, {
        output: tensor(f"{rows} num_v_heads head_size", "bfloat16", "What the queries read."),
        state: tensor(f"{states} {_STATE}", "float32", behind[form]),
    }


def _reference(gate: Gate, form: Form, sizes: Mapping[str, int], bound: float | None) -> str:
    text = joined(files(__package__) / "references", f"{form}.py")
    words = {"channel"} if gate == "channel" else set()
    if bound is not None:
        words.add("bounded")
    constants: dict[str, object] = {name.upper(): size for name, size in sizes.items()}
    if bound is not None:
        constants["LOWER_BOUND"] = bound
    return render(select(text, words, _WORDS), constants)


def form_of(definition: Definition) -> Form | None:
    """Which form it is by its tensors and axes; None where they are others."""
    gate = GATE.get(definition.op_type)
    for form, kind in FORMS.items():
        if gate is None or tuple(definition.inputs) != kind.inputs:
            continue
        inputs, outputs = _tensors(gate, form)
        wanted = {**inputs, **outputs}
        have = {**definition.inputs, **definition.outputs}
        if (
            tuple(definition.outputs) == kind.outputs
            and set(definition.var_axes) == set(kind.var_axes)
            and all(have[name].shape == spec.shape for name, spec in wanted.items())
        ):
            return form
    return None


def bound_of(definition: Definition) -> float | None:
    """What log alpha is never below; None where a reference sets no such constant."""
    found = re.search(r"^LOWER_BOUND = (\S+)$", definition.reference, flags=re.MULTILINE)
    return None if found is None else float(found[1])


def identify(definition: Definition) -> Identity:
    """The bound of its gates, and what contradicts sizes or name."""
    bound = bound_of(definition)
    variant = "" if bound is None else f"gates bounded by {bound:g}"
    return Identity(variant, tuple(_contradictions(definition)))


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"qk": "num_q_heads", "v": "num_v_heads", "d": "head_size"})
    yield from not_a_multiple(definition, "num_v_heads", "num_q_heads")
    sizes = definition.const_axes
    if sizes.get("num_q_heads") != sizes.get("num_k_heads"):
        yield "num_k_heads is not num_q_heads"
