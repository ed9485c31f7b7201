"""What work in other processes may use, and the keywords of the API that say so."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypedDict

import attrs

from fibcore.errors import UsageError
from fibcore.processes.sizes import parse_size

if TYPE_CHECKING:
    from typing_extensions import Unpack


@attrs.frozen
class Limits:
    """What a worker process may use for one task.

    Attributes:
        timeout_s: Seconds of real time.
        memory_bytes: Main memory that it may occupy; None for no limit.
    """

    timeout_s: float
    memory_bytes: int | None = None


class WorkerLimits(TypedDict, total=False):
    """Keywords of API functions whose work is done in worker processes.

    Attributes:
        jobs: How many processes; None for as many as are sensible on this machine.
        timeout_s: Seconds of real time for each task, more than 0.
        memory_bytes: Memory of one process, in bytes or as text (`16G`); None for no limit, or for
            a share of what is free.
        dask: Address of a Dask scheduler whose workers do the work instead of this machine, see
            `fibcore.processes.connection`; not together with `jobs`.
    """

    jobs: int | None
    timeout_s: float
    memory_bytes: int | str | None
    dask: str | None


def check_limits(**given: Unpack[WorkerLimits]) -> Limits:
    """Check the keywords of one call.

    Returns:
        The limits of each task; without `timeout_s` time is not limited.

    Raises:
        UsageError: with the option that makes no sense, and what would be right.
    """
    jobs, dask = given.get("jobs"), given.get("dask")
    if jobs is not None and jobs < 1:
        raise UsageError(
            "too small a number", where="--jobs", expected="at least 1", found=repr(jobs)
        )
    memory = given.get("memory_bytes")
    memory_bytes = None if memory is None else parse_size(memory, "--memory-limit")
    timeout_s = given.get("timeout_s", math.inf)
    if "timeout_s" in given and not (math.isfinite(timeout_s) and timeout_s > 0):
        raise UsageError(
            "no such time limit",
            where="--timeout",
            expected="seconds, more than 0",
            found=repr(timeout_s),
        )
    if dask is not None and jobs is not None:
        raise UsageError(
            "the workers of a Dask cluster are started where they run",
            where="--jobs",
            expected="either --jobs or --dask",
        )
    return Limits(timeout_s, memory_bytes)
