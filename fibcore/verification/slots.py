"""How tests are spread over this machine: places for processes, and what each may use."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from fibcore.processes import machine
from fibcore.processes.limits import Limits
from fibcore.processes.machine import Gpu
from fibcore.processes.sizes import GIB

WORKER_BYTES = 4 * GIB
"""Memory that is reckoned with for one more worker, where the number of workers is not given."""

DEFINITIONS_PER_WORKER = 4
"""A worker needs seconds to import torch, which so many definitions repay."""

MEMORY_SHARE = 0.9
"""Of the memory that is free, what the tests may use."""


@attrs.frozen
class Slot:
    """A place for one worker process.

    Attributes:
        label: What people call it: "CPU", "GPU 1".
        environment: Variables that make the process use this place.
        gpu: The GPU it has for itself or shares; None for the CPU.
        gpu_memory_bytes: What it may use of the GPU's memory; None for all.
    """

    label: str
    environment: Mapping[str, str] = attrs.field(factory=dict)
    gpu: str | None = None
    gpu_memory_bytes: int | None = None


@attrs.frozen
class LocalRun:
    """What is to be run on this machine, and where.

    Attributes:
        dataset: The dataset's folder.
        modules: Op type, or definition, to the path of its test module, relative to the dataset.
        definitions: Name of each definition to its op type, in the order in which they are to run.
        options: Options of the generated conftest.py.
        slots: Places for workers.
        limits: What each definition may use.
        alone: What a definition may use that is run again while no other is, because its process
            was ended for memory, or its share of a GPU did not do.
        alone_gpu_memory_bytes: What it may then use of the GPU's memory; None for all.
    """

    dataset: Path
    modules: Mapping[str, str]
    definitions: Mapping[str, str]
    options: Sequence[str]
    slots: Sequence[Slot]
    limits: Limits
    alone: Limits
    alone_gpu_memory_bytes: int | None = None


def default_jobs(definitions: int) -> int:
    """How many workers are sensible on the CPU for so many definitions."""
    jobs = min(machine.cores(), math.ceil(definitions / DEFINITIONS_PER_WORKER))
    free = machine.free_memory_bytes()
    if free is not None:
        jobs = min(jobs, free // WORKER_BYTES)
    return max(1, jobs)


def make_slots(
    gpus: Sequence[Gpu],
    definitions: int,
    *,
    jobs: int | None = None,
    gpu_memory_bytes: int | None = None,
) -> tuple[Slot, ...]:
    """Places for workers: one for each GPU, or as many as are sensible on the CPU.

    Args:
        gpus: The GPUs to use; none for the CPU.
        definitions: How many definitions there are to verify.
        jobs: How many workers there are to be; more than GPUs share them, fewer leave some idle.
        gpu_memory_bytes: What a worker may use of its GPU's memory; None for its share.
    """
    if jobs is None:
        jobs = len(gpus) or default_jobs(definitions)
    jobs = max(1, min(jobs, definitions))
    threads = {}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = {"OMP_NUM_THREADS": str(max(1, machine.cores() // jobs))}
    if not gpus:
        return tuple(Slot(f"CPU {i}" if jobs > 1 else "CPU", threads) for i in range(jobs))
    slots = []
    for i in range(jobs):
        gpu = gpus[i % len(gpus)]
        sharing = len(range(i % len(gpus), jobs, len(gpus)))
        memory = gpu_memory_bytes
        if memory is None and sharing > 1:
            memory = int(MEMORY_SHARE * gpu.memory_bytes / sharing)
        label = f"GPU {gpu.id}" + (f".{i // len(gpus)}" if sharing > 1 else "")
        environment = {**threads, "CUDA_VISIBLE_DEVICES": gpu.id}
        slots.append(Slot(label, environment, gpu.id, memory))
    return tuple(slots)


def local_run(
    dataset: Path,
    modules: Mapping[str, str],
    definitions: Mapping[str, str],
    options: Sequence[str],
    device: str,
    jobs: int | None,
    limits: Limits,
) -> LocalRun:
    """How definitions are to be spread over this machine.

    Args:
        dataset: The dataset's folder.
        modules: Op type, or definition, to the path of its test module, relative to the dataset.
        definitions: Name of each definition to its op type.
        options: Options of the generated conftest.py.
        device: "auto", "cpu" or "cuda".
        jobs: How many workers there are to be; None for what is sensible.
        limits: What each definition may use, as the caller gave it.
    """
    gpus = machine.find_gpus() if device != "cpu" else ()
    gpu_memory, memory = (limits.memory_bytes, None) if gpus else (None, limits.memory_bytes)
    slots = make_slots(gpus, len(definitions), jobs=jobs, gpu_memory_bytes=gpu_memory)
    alone = memory
    free = machine.free_memory_bytes()
    if memory is None and free is not None:
        alone = int(MEMORY_SHARE * free)
        memory = alone // len(slots)
    return LocalRun(
        dataset=dataset,
        modules=modules,
        definitions=definitions,
        options=options,
        slots=slots,
        limits=Limits(limits.timeout_s, memory),
        alone=Limits(limits.timeout_s, alone),
        alone_gpu_memory_bytes=gpu_memory,
    )
