"""Sizes to benchmark norms with."""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_rmsnorm.names import INPUTS


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,  # noqa: ARG001 - the hook's
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of random numbers; none for a norm with other inputs."""
    if tuple(definition.inputs) not in INPUTS or definition.var_axes != ("batch_size",):
        return ()
    return tuple(WorkloadCase(f"{rows} rows", {"batch_size": rows}) for rows in TOKENS)
