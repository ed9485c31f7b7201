"""A module of KernelBench holds a reference and its inputs, and runs by itself."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from fibcore.exporting.kernelbench import KernelBench
from fibcore.exporting.serving import found_kernels
from fibcore.exporting.shapes import shape_of
from fibcore.extraction.request import Request
from fibcore.ops.exports import ExportRequest, ServedKernel
from fibcore.ops.registry import Registry
from fibcore.workspace import Workspace


@pytest.fixture
def served(op_plugins: Registry, tiny_source: Path, tiny_config: Path) -> tuple[ServedKernel, ...]:
    workspace = Workspace.of(sglang=tiny_source, registry=op_plugins)
    return found_kernels(["tiny"], workspace, Request(config=tiny_config)).kernels


def test_every_module_runs(
    op_plugins: Registry, served: tuple[ServedKernel, ...], tmp_path: Path
) -> None:
    exported = KernelBench(op_plugins).write(ExportRequest(served, (1,), ()))
    assert len(exported.files) > 5
    assert not exported.left_out
    (norm,) = (f for f in exported.files if f.path.endswith("/rmsnorm_h64.py"))
    (tmp_path / "norm.py").write_text(norm.text)
    assert runpy.run_path(str(tmp_path / "norm.py"))["get_inputs"]()[0].shape == (300, 64)
    for file in exported.files:
        path = tmp_path / file.path.replace("/", "_")
        path.write_text(file.text.replace("CASE = -1", "CASE = 0"))
        module = runpy.run_path(str(path))
        inputs = module["get_inputs"]()
        assert [type(value) for value in inputs] == [type(v) for v in module["get_inputs"]()]
        outputs = module["Model"](*module["get_init_inputs"]())(*inputs)
        for output in outputs if isinstance(outputs, tuple) else (outputs,):
            assert isinstance(output, torch.Tensor)


def test_shapes_say_where_sizes_come_from(served: tuple[ServedKernel, ...]) -> None:
    shape = shape_of(next(s for s in served if s.definition.op_type == "gemm"))
    assert set(shape.sizes) == {"N", "K"}
    assert "config:hidden_size" in shape.origins["K"]
    assert shape.to_dict()["layers"] == shape.layers == 2
