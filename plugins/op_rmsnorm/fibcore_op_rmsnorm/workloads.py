"""Sizes to benchmark norms with."""

from __future__ import annotations

from fibcore.plugin import TOKENS, Definition, WorkloadCase

_INPUTS = (["hidden_states", "weight"], ["hidden_states", "residual", "weight"])


def workloads(definition: Definition) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of random numbers; none for a norm with other inputs."""
    if list(definition.inputs) not in _INPUTS or definition.var_axes != ("batch_size",):
        return ()
    return tuple(WorkloadCase(f"{rows} rows", {"batch_size": rows}) for rows in TOKENS)
