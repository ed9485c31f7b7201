"""Workloads of matrix products."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from fibcore.plugin import Definition, Kernel, scalar
from fibcore_op_gemm import fibcore_workloads
from fibcore_op_gemm.definitions import define as definition
from fibcore_op_gemm.workloads import TARGET_STD


def made(n: int, k: int, *, fp8: bool) -> Definition:
    parameters = {"N": n, "K": k, "fp8_block_scale": fp8}
    name = f"gemm_{'fp8_block_scale_' if fp8 else ''}n_{n}_k_{k}"
    return definition(Kernel("gemm", name, parameters, {}, ()))


def test_plain_matrices_are_random() -> None:
    found = fibcore_workloads(made(64, 32, fp8=False), {}, 0)
    assert found is not None
    assert [c.axes["M"] for c in found] == [2**i for i in range(14)]
    assert all(c.tensors() == {} and c.scalars == {} for c in found)


def test_scales_keep_the_product_in_range() -> None:
    torch = pytest.importorskip("torch", reason="references need torch")
    one = made(320, 700, fp8=True)
    found = fibcore_workloads(one, {}, 0)
    assert found is not None
    case = next(c for c in found if c.axes["M"] == 256)
    scales = case.tensors()
    assert scales["A_scale"].shape == (256, 6)
    assert scales["B_scale"].shape == (3, 6)
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(rows, 700, generator=generator).clamp(-2, 2).to(torch.float8_e4m3fn)
        for rows in (256, 320)
    )
    namespace: dict[str, object] = {}
    exec(one.reference, namespace)  # noqa: S102 - our own file
    run = namespace["run"]
    assert callable(run)
    c = run(a, torch.from_numpy(scales["A_scale"]), b, torch.from_numpy(scales["B_scale"]))
    assert 0.7 * TARGET_STD < float(c.float().std()) < 1.4 * TARGET_STD


def test_scales_of_b_are_the_same_for_all_sizes() -> None:
    first, *others = fibcore_workloads(made(256, 256, fp8=True), {}, 0) or ()
    for other in others[:3]:
        assert np.array_equal(first.tensors()["B_scale"], other.tensors()["B_scale"])
    changed = fibcore_workloads(made(256, 256, fp8=True), {}, 1)
    assert changed is not None
    assert not np.array_equal(first.tensors()["B_scale"], changed[0].tensors()["B_scale"])


def test_matrices_of_others_are_not_guessed() -> None:
    one = made(64, 32, fp8=False)
    inputs = {**one.inputs, "alpha": scalar("float32")}
    other = attrs.evolve(one, inputs=inputs, reference="def run(A, B, alpha):\n    pass\n")
    assert fibcore_workloads(other, {}, 0) == ()
