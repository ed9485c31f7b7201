"""A small op type for the tests of workloads and solutions: `pick`, rows of a table by index."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibcore.model.definition import Definition, const, scalar, tensor, var
from fibcore.model.kernel import Scalar
from fibcore.ops.hookspecs import GroundTruth, OpType, WorkloadCase, hookimpl
from fibcore.ops.registry import Registry, load_plugins

REFERENCE = """import torch


def run(table, indptr, scale):
    assert table.shape[1] == {width}
    return table * scale
"""

FLASHINFER = """import torch


def flashinfer_pick(**inputs):
    import flashinfer

    return flashinfer.pick(inputs["table"], inputs["indptr"], inputs["scale"])
"""

TRUTH = '''"""Rows of a table by torch."""

from __future__ import annotations

import torch


def torch_pick(table: torch.Tensor, indptr: torch.Tensor, scale: float) -> torch.Tensor:
    """Rows, in float64."""
    return table.double() * scale
'''


def definition(name: str = "pick_w4", width: int = 4, **changes: Any) -> Definition:
    """The definition; rows [rows, width] bfloat16, offsets [len_indptr] int32."""
    fields: dict[str, Any] = {
        "name": name,
        "op_type": "pick",
        "tags": ("status:unverified", "model:toy"),
        "axes": {"rows": var(), "width": const(width), "len_indptr": var()},
        "inputs": {
            "table": tensor("rows width", "bfloat16"),
            "indptr": tensor("len_indptr", "int32"),
            "scale": scalar("float32"),
        },
        "outputs": {"out": tensor("rows width", "bfloat16")},
        "constraints": ("rows == indptr[-1].item()", "len_indptr == 3"),
        "reference": REFERENCE.format(width=width),
    }
    return Definition(**{**fields, **changes})


def indptr(rows: int, seed: int) -> Mapping[str, Any]:
    """Offsets of two stretches of rows."""
    import numpy as np

    return {"indptr": np.array([0, min(seed, rows), rows], dtype=np.int32)}


class Plugin:
    """The plugin; `cases` and `truths` can be other ones than the usual."""

    def __init__(self, cases: Any = None, truths: Any = None) -> None:
        self.cases = cases
        self.truths = truths
        self.asked: list[dict[str, Scalar]] = []

    @hookimpl
    def fibcore_op_types(self) -> tuple[OpType, ...]:
        return (OpType("pick", "rows of a table"),)

    @hookimpl
    def fibcore_workloads(
        self, definition: Definition, constants: Mapping[str, Scalar], seed: int
    ) -> Any:
        if definition.op_type != "pick":
            return None
        self.asked.append(dict(constants))
        if self.cases is not None:
            return self.cases(definition)
        return [
            WorkloadCase(
                f"{rows} rows",
                {"rows": rows, "len_indptr": 3},
                {"scale": 0.5},
                functools.partial(indptr, rows, seed),
            )
            for rows in (1, 8, 64, 512, 4096)
        ]

    @hookimpl
    def fibcore_ground_truths(self, definition: Definition) -> Any:
        if definition.op_type != "pick":
            return None
        if self.truths is not None:
            return self.truths
        return (
            GroundTruth(
                name="flashinfer.pick",
                kind="flashinfer",
                entry="flashinfer_pick",
                source=FLASHINFER,
                device="cuda",
                min_capability=(9, 0),
                max_capability=(10, 3),
                packages=("flashinfer",),
            ),
            GroundTruth("torch rows", "torch", "torch_pick", TRUTH),
            GroundTruth("sglang Pick.forward", "sglang", "torch_pick", TRUTH),
        )


def registry(plugin: object | None = None) -> Registry:
    """A registry of this plugin alone."""
    return load_plugins(extra={"pick": plugin or Plugin()}, discover=False)


def write(root: Path, *definitions: Definition) -> None:
    """Put definitions into a dataset."""
    for one in definitions:
        path = root / "definitions" / one.op_type / f"{one.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one.to_json(), encoding="utf-8")
