"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

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
    not_a_multiple,
    render,
    tensor,
    var,
)
from fibcore_op_mamba.names import FORMS, OUTPUTS, Form

_FORMULA = (
    "step = softplus(dt + dt_bias), S_new = exp(step * A) * S + step * x B^T, "
    "output = S_new C + D * x"
)
_WHAT: dict[Form, str] = {
    "decode": "one token of each sequence, with states in a cache",
    "prefill": "whole sequences, one after the other",
}
_CONSTRAINTS: dict[Form, tuple[str, ...]] = {
    "decode": ("nheads % ngroups == 0", "state_cache_size >= batch_size"),
    "prefill": (
        "nheads % ngroups == 0",
        "len_cu_seqlens == num_seqs + 1",
        "total_seq_len == cu_seqlens[-1].item()",
    ),
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    That of `mamba_ssu` has the published dataset's axes and tensors; `mamba_ssd` has numbers for
    each head where a decode step has them for each channel, as SGLang gives them.
    """
    form = cast(Form, kernel.parameters["form"])
    sizes = {
        name: int(kernel.parameters[name]) for name in ("nheads", "head_dim", "dstate", "ngroups")
    }
    inputs, outputs = _tensors(form)
    template = files(__package__) / "references" / f"{FORMS[form].stem}.py"
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=(
            f"Selective state space of Mamba 2, {_WHAT[form]}: {_FORMULA}. A head's state S is "
            "[head_dim, dstate]."
        ),
        tags=kernel.tags,
        axes=_axes(form, sizes),
        constraints=_CONSTRAINTS[form],
        inputs=inputs,
        outputs=outputs,
        reference=render(
            template.read_text(encoding="utf-8"),
            {name.upper(): size for name, size in sizes.items()},
        ),
    )


def _axes(form: Form, sizes: Mapping[str, int]) -> dict[str, Axis]:
    described = {
        "nheads": "Heads of a rank.",
        "head_dim": "Channels of a head.",
        "dstate": "Numbers of a channel's state.",
        "ngroups": "Groups of a rank; heads of a group share B and C.",
    }
    constants = {name: const(size, described[name]) for name, size in sizes.items()}
    if form == "decode":
        return {
            "batch_size": var("Sequences."),
            "state_cache_size": var("States in the cache."),
            **constants,
        }
    return {
        "total_seq_len": var("Tokens of all sequences."),
        "num_seqs": var("Sequences."),
        **constants,
        "len_cu_seqlens": var("Length of cu_seqlens, num_seqs + 1."),
    }


def _tensors(form: Form) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    state = "nheads head_dim dstate"
    if form == "decode":
        rows, head, states = "batch_size", "nheads head_dim", f"state_cache_size {state}"
        rates = tensor(state, "float32", "Rates of decay, negative.")
        before = "Cache of states."
    else:
        rows, head, states = "total_seq_len", "nheads", f"num_seqs {state}"
        rates = tensor(head, "float32", "Rates of decay, negative, one for each head.")
        before = "States before the sequences, 0 for new ones."
    x = tensor(f"{rows} nheads head_dim", "bfloat16", "What the states take in.")
    every = {
        "state": tensor(states, "bfloat16", before),
        "x": x,
        "dt": tensor(f"{rows} {head}", "bfloat16", "Steps, before bias and softplus."),
        "A": rates,
        "B": tensor(f"{rows} ngroups dstate", "bfloat16", "Where in the state x goes."),
        "C": tensor(f"{rows} ngroups dstate", "bfloat16", "What is read of the state."),
        "D": tensor(head, "bfloat16", "Factor of x in the output."),
        "dt_bias": tensor(head, "bfloat16", "Added to dt."),
        "state_batch_indices": tensor(
            "batch_size",
            "int32",
            "Place of each sequence's state in the cache, each another one; -1 for a row that is "
            "padding, which begins with a state of 0 that is kept nowhere.",
        ),
        "cu_seqlens": tensor(
            "len_cu_seqlens", "int64", "Where sequences begin among the tokens, and their end."
        ),
    }
    behind = {
        "decode": "The cache, with states behind the token.",
        "prefill": "States behind the sequences; one without tokens keeps its state.",
    }
    return {name: every[name] for name in FORMS[form].inputs}, {
        "output": tensor(f"{rows} nheads head_dim", "bfloat16", "What is read, and D * x."),
        "new_state": tensor(states, "bfloat16", behind[form]),
    }


def form_of(definition: Definition) -> Form | None:
    """Which form it is by its tensors and axes; None where they are others."""
    for form, kind in FORMS.items():
        if definition.op_type != kind.op_type or tuple(definition.inputs) != kind.inputs:
            continue
        inputs, outputs = _tensors(form)
        have = {**definition.inputs, **definition.outputs}
        if (
            tuple(definition.outputs) == OUTPUTS
            and set(definition.var_axes) == set(kind.var_axes)
            and all(have[name].shape == spec.shape for name, spec in {**inputs, **outputs}.items())
        ):
            return form
    return None


def identify(definition: Definition) -> Identity:
    """No variant, and what contradicts sizes or name."""
    return Identity("", tuple(_contradictions(definition)))


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"h": "nheads", "d": "head_dim", "s": "dstate", "ng": "ngroups"})
    yield from not_a_multiple(definition, "nheads", "ngroups")
