"""Finds selective state spaces in a model tree.

SGLang runs those of Mamba 2 in `MambaMixer2` (`srt/layers/attention/mamba/mamba.py`), between its
projections: kernels that are no module, called by whichever backend the server has. The mixer's
attributes say the sizes.
"""

from __future__ import annotations

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
    decided_size,
    fact,
    origins_of,
    with_origins,
)
from fibcore_op_mamba.names import FORMS, Form, kernel_name

_OTHERS = {
    "MambaMixer1": "Mamba 1 has a matrix A for each channel, and no heads",
    "MambaMixer": "Mamba 1 has a matrix A for each channel, and no heads",
}


@attrs.frozen
class _Sizes:
    """Sizes of one tensor-parallel rank."""

    nheads: int
    head_dim: int
    dstate: int
    ngroups: int


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of `tree`, with every mixer that runs each."""
    found = KernelCollector()
    notes = _notes(tree)
    for node in tree.walk():
        if node.is_a("MambaMixer2"):
            _match(node, serving, notes, found)
        elif node.class_name in _OTHERS:
            reason = f"no definition has this form: {_OTHERS[node.class_name]}"
            found.not_covered(f"state space of {node.class_name}", reason, node)
    return found.finish()


def _notes(tree: ModelTree) -> tuple[str, ...]:
    """Which dtype SGLang keeps states in, where it is another than the definitions'."""
    config: Any = tree.config
    kept = "float32"
    for section in (config.get("text_config"), config):
        dtype = section.get("mamba_ssm_dtype") if isinstance(section, dict) else None
        if isinstance(dtype, str):
            kept = dtype
    if kept == "bfloat16":
        return ()
    return (f"SGLang keeps states in {kept} here, by the config's mamba_ssm_dtype",)


def _match(
    node: ModuleNode, serving: Serving, notes: tuple[str, ...], found: KernelCollector
) -> None:
    """Add the kernels of a mixer, or say what is not known."""
    try:
        sizes = _sizes(node)
    except UndecidedError as why:
        found.problem("selective state space", str(why), node)
        return
    for form in FORMS:
        if form in serving.stages:
            found.add(attrs.evolve(_kernel(node, serving, sizes, form), notes=notes), node)
    found.claim(node)


def _sizes(node: ModuleNode) -> _Sizes:
    """What a rank has.

    Raises:
        UndecidedError: a size is not known, or they do not fit.
    """
    head_dim, dstate, groups, ranks = (
        decided_size(node.attributes.get(name), name)
        for name in ("head_dim", "ssm_state_size", "n_groups", "tp_size")
    )
    rate = node.attributes.get("A")
    if not isinstance(rate, ParameterRef) or rate.shape is None or len(rate.shape) != 1:
        raise UndecidedError(f"A, which has a number for each head, is {rate}")
    nheads = decided_size(rate.shape[0], "the number of heads")
    if groups % ranks or nheads % (groups // ranks):
        raise UndecidedError(
            f"{groups} groups on {ranks} ranks do not fit {nheads} heads of each rank"
        )
    return _Sizes(nheads, head_dim, dstate, _shared(groups, ranks))


def _shared(groups: int, ranks: int) -> int:
    """Groups of one rank, with the origins of both numbers."""
    shared: int = with_origins(int(groups) // int(ranks), origins_of(groups) | origins_of(ranks))
    return shared


def _kernel(node: ModuleNode, serving: Serving, sizes: _Sizes, form: Form) -> Kernel:
    """The kernel of a mixer in one form, with a fact for each constant."""
    ranks = serving.ranks(origins_of(sizes.nheads))
    kind, rank = FORMS[form], f"of one of {ranks} tensor-parallel ranks"
    return Kernel(
        op_type=kind.op_type,
        name=kernel_name(form, sizes.nheads, sizes.head_dim, sizes.dstate, sizes.ngroups),
        parameters={
            "form": form,
            "nheads": int(sizes.nheads),
            "head_dim": int(sizes.head_dim),
            "dstate": int(sizes.dstate),
            "ngroups": int(sizes.ngroups),
        },
        facts={
            "nheads": fact(sizes.nheads, node, f"heads {rank}"),
            "head_dim": fact(sizes.head_dim, node, "channels of a head"),
            "dstate": fact(sizes.dstate, node, "numbers of a channel's state"),
            "ngroups": fact(
                sizes.ngroups, node, f"groups {rank}; one that ranks share is on each of them"
            ),
        },
        uses=(),
        tags=(
            f"stage:{form}",
            f"tp:{ranks}",
            *((f"fi_api:{kind.flashinfer}",) if kind.flashinfer else ()),
        ),
    )
