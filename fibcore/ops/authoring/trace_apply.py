"""Solutions that FlashInfer's `trace_apply` puts in place of its own kernels at run time.

`flashinfer.trace_apply` (0.7.2 to 0.7.4) looks a call up by the name that FlashInfer's trace
template of the function has for its sizes, and calls the one solution of that name with the
template's inputs as keywords. Names and inputs differ from a dataset's, some outputs are tensors of
the caller that are overwritten, and calls carry flags: a plugin says so in a table of `Applied`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from fibcore.model.definition import Axis, Definition, TensorSpec
from fibcore.model.options import OptionValue
from fibcore.ops.authoring.tables import json_text
from fibcore.ops.exports import Exported, ExportedFile, ExportFormat, ExportRequest

NAME = "trace-apply"
VERSIONS = ("0.7.2", "0.7.4")
"""Releases of FlashInfer whose names, inputs and calls the tables hold, the same in all of them."""

CALLED = '''
def called(**expected):
    """Arguments of the call by name, defaults among them, each one of the values expected of it.

    trace_apply hands a solution what its template lists; what else a call decides is not among it.
    """
    import sys

    namespace = sys._getframe(2).f_locals.get("namespace")
    if namespace is None:
        raise RuntimeError("this solution is for flashinfer.trace_apply of FlashInfer 0.7")
    for name, wanted in expected.items():
        found = namespace.get(name)
        if not any(found is one or (one is not None and found == one) for one in wanted):
            raise RuntimeError(f"called with {name} = {found}; this solution is for {wanted}")
    return namespace
'''
"""What solutions of functions begin with: `called`."""

EACH_QUERY = '''
def each_query(qo_indptr, kv_indptr, kv_indices, keys, per_page, causal):
    """Pages of every query, as of a sequence of its own: indptr, indices, keys of the last page.

    Sequence i has queries qo_indptr[i] to qo_indptr[i + 1] and keys[i] keys; the last of its
    queries sees all of them, and the others too, unless they are causal.
    """
    queries = qo_indptr.long().diff()
    sequence = torch.repeat_interleave(torch.arange(len(queries), device=keys.device), queries)
    seen = keys.long()[sequence]
    if causal:
        place = torch.arange(len(sequence), device=keys.device) - qo_indptr.long()[sequence]
        seen = (seen - queries[sequence] + place + 1).clamp(min=0)
    pages = (seen + per_page - 1) // per_page
    indptr = torch.cat((pages.new_zeros(1), pages.cumsum(0)))
    page = torch.arange(int(indptr[-1]), device=keys.device)
    page = page - torch.repeat_interleave(indptr[:-1], pages)
    page = page + torch.repeat_interleave(kv_indptr.long()[sequence], pages)
    return indptr.int(), kv_indices[page].int(), (seen - (pages - 1).clamp(min=0) * per_page).int()
'''
"""`each_query`, for solutions whose definition has one query a sequence."""

PLANNED = '''
def planned(q, **expected):
    """What FlashInfer calls with: the namespace of the call, whose plan is the one expected.

    trace_apply hands a solution what its template lists. Whether a plan is causal or has a window
    is not among that, nor how full the last pages are, but the wrapper that runs knows it.
    """
    import sys

    namespace = sys._getframe(2).f_locals.get("namespace") or {}
    wrapper = namespace.get("self")
    if wrapper is None:
        raise RuntimeError("this solution is for flashinfer.trace_apply of FlashInfer 0.7")
    for name, wanted in expected.items():
        found = getattr(wrapper, name, None)
        if (found or None) != (wanted or None):
            raise RuntimeError(f"planned with {name} = {found}; this solution is for {wanted}")
    for name in ("k_scale", "v_scale"):
        if namespace.get(name) not in (None, 1.0):
            raise RuntimeError(f"called with {name}, which this solution does not have")
    return namespace


def on(q, tensor):
    """A tensor of the plan where the queries are."""
    return tensor.to(q.device)
'''
"""What solutions of attention begin with: `planned` and `on`."""


@attrs.frozen
class Applied:
    """A function of FlashInfer that a definition's reference can stand in for.

    Attributes:
        name: FlashInfer's name for the kernel of these sizes.
        op_type: FlashInfer's op type.
        fi_api: The function, by its qualified name.
        inputs: The template's inputs, in order; those without a shape are scalars.
        outputs: The template's outputs, in order.
        source: Defines `apply`, which takes the inputs by name and calls `run`, the reference.
        written: Output to the parameter of the function that it is written into.
        optional: Inputs that a call may go without.
    """

    name: str
    op_type: str
    fi_api: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    source: str
    written: Mapping[str, str] = attrs.field(factory=dict)
    optional: frozenset[str] = frozenset()


Table = Callable[[Definition], "Sequence[Applied] | str"]
"""What a definition can stand in for; in words, why for nothing."""


def trace_apply_format(
    op_types: Sequence[str], table: Table, options: Mapping[str, OptionValue] | None = None
) -> ExportFormat:
    """The format, for the definitions of a plugin.

    Args:
        op_types: Their op types.
        table: What each stands in for.
        options: Values of declared options at which kernels are called: shapes of a rank.
    """
    return ExportFormat(
        NAME,
        f"solutions that flashinfer.trace_apply ({VERSIONS[0]} to {VERSIONS[-1]}) puts in place of "
        "FlashInfer's kernels",
        tuple(op_types),
        lambda request: _write(request, table),
        options or {},
    )


def _write(request: ExportRequest, table: Table) -> Exported:
    """One solution and one definition for each function; none where two would share a name."""
    wanted: dict[str, list[tuple[Definition, Applied]]] = {}
    left_out: dict[str, str] = {}
    for definition in {s.definition.name: s.definition for s in request.kernels}.values():
        found = table(definition)
        if isinstance(found, str):
            left_out[definition.name] = found
            continue
        for applied in found:
            wanted.setdefault(applied.name, []).append((definition, applied))
    files, rows = [], []
    for name, offered in wanted.items():
        if len(offered) > 1:
            others = ", ".join(definition.name for definition, _ in offered)
            for definition, _ in offered:
                left_out[definition.name] = f"FlashInfer calls {others} by one name, {name}"
            continue
        ((definition, applied),) = offered
        files += _files(definition, applied)
        rows.append((name, definition.name, applied.fi_api))
    columns = ("FlashInfer's name", "definition", "function")
    return Exported(tuple(files), columns, tuple(rows), left_out)


def _files(definition: Definition, applied: Applied) -> list[ExportedFile]:
    reference = definition.reference.rstrip("\n")
    source = f"{reference}\n\n\n{applied.source.strip()}\n"
    solution = {
        "name": f"reference_{applied.name}",
        "definition": applied.name,
        "author": "fibcore",
        "spec": {
            "language": "python",
            "target_hardware": ["cpu", "cuda"],
            "entry_point": "main.py::apply",
            "dependencies": [],
            "destination_passing_style": False,
        },
        "sources": [{"path": "main.py", "content": source}],
        "description": f"The reference of {definition.name}.",
    }
    place = f"{applied.op_type}/{applied.name}"
    return [
        ExportedFile(f"definitions/{place}.json", json_text(_theirs(definition, applied))),
        ExportedFile(f"solutions/fibcore/{place}/{solution['name']}.json", json_text(solution)),
    ]


def _theirs(definition: Definition, applied: Applied) -> dict[str, Any]:
    """The definition as FlashInfer's tracing would write it, as far as trace_apply reads it."""
    specs = (*applied.inputs.values(), *applied.outputs.values())
    used = dict.fromkeys(axis for spec in specs for axis in spec.shape or ())
    return {
        "name": applied.name,
        "description": definition.description,
        "op_type": applied.op_type,
        "tags": [f"fi_api:{applied.fi_api}"],
        "axes": {axis: _axis(definition.axes.get(axis)) for axis in used},
        "inputs": {
            name: {**_spec(spec), **({"optional": True} if name in applied.optional else {})}
            for name, spec in applied.inputs.items()
        },
        "outputs": {
            name: {
                **_spec(spec),
                **({"param": applied.written[name]} if name in applied.written else {}),
            }
            for name, spec in applied.outputs.items()
        },
    }


def _axis(axis: Axis | None) -> dict[str, Any]:
    if axis is None or axis.value is None:
        return {"type": "var"}
    return {"type": "const", "value": axis.value}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"shape": None if spec.shape is None else list(spec.shape), "dtype": spec.dtype}
