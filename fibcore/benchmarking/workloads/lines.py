"""The lines of `workloads/<op_type>/<name>.jsonl`: flashinfer-bench's Trace without a solution."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

_NAMESPACE = uuid.UUID("7c98ea2d-4519-4fa2-b6cf-cc3319c299a8")
_RECORDED = uuid.UUID("b0a5d0f4-6a3c-4f0e-9a51-0d5d6f7f5c1e")


def line(
    definition: str,
    axes: Mapping[str, int],
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    recorded: bool = False,
) -> str:
    """A workload as one line of JSON, in the form that flashinfer-bench writes itself.

    Args:
        definition: The definition's name.
        axes: Sizes of the var axes.
        inputs: Input name to `{"type": "random"}`, `{"type": "scalar", "value": ...}` or
            `{"type": "safetensors", "path": ..., "tensor_key": ...}`.
        recorded: Whether it is of a real run; `is_own` is false for it then.
    """
    data = {
        "definition": definition,
        "workload": {
            "axes": dict(axes),
            "inputs": {name: dict(given) for name, given in inputs.items()},
            "uuid": identity(definition, axes, inputs, _RECORDED if recorded else _NAMESPACE),
        },
        "solution": None,
        "evaluation": None,
    }
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def identity(
    definition: str,
    axes: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, Any]],
    namespace: uuid.UUID = _NAMESPACE,
) -> str:
    """The uuid of a workload: a hash of what it holds. Tensors' paths hold theirs."""
    content = json.dumps([definition, axes, inputs], sort_keys=True, separators=(",", ":"))
    return str(uuid.uuid5(namespace, content))


def uuid_of(line: str) -> str:
    """The uuid of a line that `line` wrote."""
    return str(json.loads(line)["workload"]["uuid"])


def is_own(data: object) -> bool:
    """Whether a line's data was written by fibcore and not changed since, by its uuid."""
    if not isinstance(data, dict) or not isinstance(data.get("workload"), dict):
        return False
    workload = data["workload"]
    try:
        made = identity(data["definition"], workload["axes"], workload["inputs"])
        return bool(workload["uuid"] == made)
    except KeyError:
        return False
