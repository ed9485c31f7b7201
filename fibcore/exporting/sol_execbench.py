"""SOL-ExecBench's problems: a definition, workloads with a tolerance each, and a solution.

Definitions and workloads are flashinfer-bench's; a workload has a `tolerance` besides, and a
solution names `languages` and `target_hardware`. The solution that is written is the reference.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.errors import FibcoreError, PluginError
from fibcore.extras import need
from fibcore.model.definition import Definition
from fibcore.model.dtypes import TABLE
from fibcore.model.kernel import Scalar
from fibcore.model.shapes import device_bytes
from fibcore.ops.exports import Exported, ExportedFile, ExportRequest
from fibcore.ops.hookspecs import WorkloadCase
from fibcore.ops.registry import Registry
from fibcore.processes.sizes import GIB
from fibcore.verification.emitted.tolerances import tolerance_of

NAME = "sol-execbench"
MOST = 8 * GIB
"""Bytes of inputs and outputs of a workload; larger ones are left out."""
_NAMESPACE = uuid.UUID("0c8d9a0e-8e0b-4b55-9d3c-5f6b4a1f2a53")


@attrs.frozen
class SolExecBench:
    """Writes a problem for each definition.

    Attributes:
        registry: The plugins, which have the workloads of their definitions.
    """

    registry: Registry

    def write(self, request: ExportRequest) -> Exported:
        """A folder for every definition, each once, below one for its op type."""
        need("bench", "tensors of workloads", "numpy", "safetensors")
        files: dict[str, list[ExportedFile]] = {}
        rows: list[tuple[str | int, ...]] = []
        left_out: dict[str, str] = {}
        hardware = [device.name for device in request.devices]
        for served in request.kernels:
            definition = served.definition
            if definition.name in files or definition.name in left_out:
                continue
            constants = {name: fact.value for name, fact in served.kernel.facts.items()}
            try:
                lines, blobs = self._workloads(definition, constants)
            except FibcoreError as error:
                left_out[definition.name] = error.summary
                continue
            folder = f"{definition.op_type}/{definition.name}"
            solution = _solution(definition, hardware)
            files[definition.name] = [
                ExportedFile(f"{folder}/definition.json", _text(definition.to_dict())),
                ExportedFile(f"{folder}/workload.jsonl", "".join(f"{line}\n" for line in lines)),
                ExportedFile(f"{folder}/solution.json", _text(solution)),
                *blobs,
            ]
            rows.append((definition.name, len(lines), folder))
        written = tuple(file for several in files.values() for file in several)
        return Exported(written, ("definition", "workloads", "folder"), tuple(rows), left_out)

    def _workloads(
        self, definition: Definition, constants: Mapping[str, Scalar]
    ) -> tuple[list[str], list[ExportedFile]]:
        """The lines of a definition's workloads, and the tensors that they name.

        Raises:
            FibcoreError: there are none; a plugin failed.
        """
        cases = self.registry.workloads(definition, constants, 0)
        if not cases:
            raise PluginError("its plugin has no workloads", where=definition.name)
        tolerance = _tolerance(definition)
        lines: list[str] = []
        blobs: dict[str, ExportedFile] = {}
        for case in cases:
            if device_bytes(definition, case.axes) > MOST:
                continue
            axes = {name: case.axes[name] for name in definition.var_axes}
            made = dict(_tensors(definition, case, len(lines)))
            blobs.update((blob.path, blob) for blob in made.values())
            inputs = {name: _input(name, case, made) for name in definition.inputs}
            content = json.dumps([definition.name, axes, inputs], sort_keys=True)
            lines.append(
                json.dumps(
                    {
                        "uuid": str(uuid.uuid5(_NAMESPACE, content)),
                        "axes": axes,
                        "inputs": inputs,
                        "tolerance": tolerance,
                    },
                    separators=(",", ":"),
                )
            )
        return lines, list(blobs.values())


def _input(name: str, case: WorkloadCase, made: Mapping[str, ExportedFile]) -> dict[str, Any]:
    if name in made:
        return {"type": "safetensors", "path": made[name].path, "tensor_key": name}
    if name in case.scalars:
        return {"type": "scalar", "value": case.scalars[name]}
    return {"type": "random"}


def _tensors(
    definition: Definition, case: WorkloadCase, number: int
) -> Iterator[tuple[str, ExportedFile]]:
    """The tensors of a case that have to be just so, each as a file, rounded to their dtypes."""
    import numpy as np
    from safetensors.numpy import save

    for name, array in case.tensors().items():
        dtype = TABLE[definition.inputs[name].dtype].numpy()
        if dtype is None:
            raise PluginError("a tensor of its workloads cannot be written", where=name)
        data = save({name: np.ascontiguousarray(array.astype(dtype))})
        path = f"{definition.op_type}/{definition.name}/blobs/{number}-{name}.safetensors"
        yield name, ExportedFile(path, data=data)


def _tolerance(definition: Definition) -> dict[str, float]:
    """One for all outputs: the widest that the reference tests allow by dtype."""
    several = [tolerance_of(definition.to_dict(), name, None, None) for name in definition.outputs]
    return {
        "max_rtol": max(rtol for rtol, _, _ in several),
        "max_atol": max(atol for _, atol, _ in several),
        "required_matched_ratio": min(ratio for _, _, ratio in several),
    }


def _solution(definition: Definition, hardware: list[str]) -> dict[str, Any]:
    """The reference as a solution."""
    return {
        "name": f"{definition.name}_reference",
        "definition": definition.name,
        "author": "fibcore",
        "description": "The reference of the definition.",
        "spec": {
            "languages": ["pytorch"],
            "target_hardware": hardware,
            "entry_point": "main.py::run",
            "dependencies": ["torch"],
            "destination_passing_style": False,
        },
        "sources": [{"path": "main.py", "content": definition.reference}],
    }


def _text(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
