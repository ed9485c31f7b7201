"""Workloads of matrix products."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from fibcore.plugin import Definition, Kernel, scalar
from fibcore.testing.templates import load_run
from fibcore_op_gemm import fibcore_workloads
from fibcore_op_gemm.definitions import define as definition
from fibcore_op_gemm.formats import FORMATS, Format
from fibcore_op_gemm.workloads import TARGET_STD


def made(n: int, k: int, *, fp8: bool) -> Definition:
    return of("gemm_fp8_block_scale" if fp8 else "gemm", n, k)


def of(kind: str, n: int, k: int) -> Definition:
    parameters = {"N": n, "K": k, "format": kind}
    return definition(Kernel("gemm", f"{kind}_n_{n}_k_{k}", parameters, {}, ()))


def test_plain_matrices_are_random() -> None:
    found = fibcore_workloads(made(64, 32, fp8=False), {}, 0)
    assert found is not None
    assert [c.axes["M"] for c in found] == [2**i for i in range(14)]
    assert all(c.tensors() == {} and c.scalars == {} for c in found)


def test_scales_keep_the_product_in_range() -> None:
    one = made(320, 700, fp8=True)
    found = fibcore_workloads(one, {}, 0)
    assert found is not None
    case = next(c for c in found if c.axes["M"] == 256)
    scales = case.tensors()
    assert scales["A_scale"].shape == (256, 6)
    assert scales["B_scale"].shape == (3, 6)


@pytest.mark.parametrize("one", [f for f in FORMATS if f.scales], ids=lambda one: one.name)
def test_scales_keep_products_of_what_is_drawn_in_range(one: Format) -> None:
    torch = pytest.importorskip("torch", reason="references need torch")
    made_of = of(one.name, 256, 640)
    case = next(c for c in fibcore_workloads(made_of, {}, 0) or () if c.axes["M"] == 64)
    generator = torch.Generator().manual_seed(0)
    inputs = {}
    for name, spec in made_of.inputs.items():
        shape = [{**made_of.const_axes, **case.axes}[axis] for axis in spec.shape or ()]
        if name in case.tensors():
            scale = torch.from_numpy(case.tensors()[name])
            assert list(scale.shape) == shape
            inputs[name] = scale.to(getattr(torch, spec.dtype))
        elif spec.dtype == "int8":  # as flashinfer-bench draws them
            drawn = torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
            inputs[name] = drawn
        else:
            drawn = torch.randn(shape, generator=generator).clamp(-2, 2)
            inputs[name] = drawn.to(getattr(torch, spec.dtype))
    c = load_run(made_of.reference)(**inputs)
    assert 0.7 * TARGET_STD < float(c.float().std()) < 1.6 * TARGET_STD


def test_scales_of_b_are_the_same_for_all_sizes() -> None:
    first, *others = fibcore_workloads(made(256, 256, fp8=True), {}, 0) or ()
    for other in others[:3]:
        assert np.array_equal(first.tensors()["B_scale"], other.tensors()["B_scale"])
    changed = fibcore_workloads(made(256, 256, fp8=True), {}, 1)
    assert changed is not None
    assert not np.array_equal(first.tensors()["B_scale"], changed[0].tensors()["B_scale"])


def test_batches_have_the_heads_of_a_model() -> None:
    found = fibcore_workloads(of("bmm_bf16", 512, 128), {"batch_size": 8}, 0) or ()
    assert {c.axes["batch_size"] for c in found} == {8}
    assert [c.axes["M"] for c in found] == [2**i for i in range(14)]
    found = fibcore_workloads(of("bmm_bf16", 512, 128), {}, 0) or ()
    assert {c.axes["batch_size"] for c in found} == {16}


def test_matrices_of_others_are_not_guessed() -> None:
    one = made(64, 32, fp8=False)
    inputs = {**one.inputs, "alpha": scalar("float32")}
    other = attrs.evolve(one, inputs=inputs, reference="def run(A, B, alpha):\n    pass\n")
    assert fibcore_workloads(other, {}, 0) == ()
