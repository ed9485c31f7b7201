"""Sizes to benchmark with."""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_eh_norm.definitions import is_known


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,  # noqa: ARG001 - the hook's
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of random numbers; none for a definition with other inputs."""
    if not is_known(definition):
        return ()
    return tuple(WorkloadCase(f"{rows} rows", {"batch_size": rows}) for rows in TOKENS)
