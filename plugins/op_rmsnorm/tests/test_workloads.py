"""Workloads of norms."""

from __future__ import annotations

import attrs

from fibcore.plugin import Definition, Kernel, scalar
from fibcore_op_rmsnorm import fibcore_workloads
from fibcore_op_rmsnorm.definitions import define as definition


def made(*, fused_add: bool) -> Definition:
    name = "fused_add_rmsnorm_h64" if fused_add else "rmsnorm_h64"
    parameters = {"hidden_size": 64, "eps": 1e-6, "fused_add": fused_add, "gemma": False}
    return definition(Kernel("rmsnorm", name, parameters, {}, ()))


def test_rows_from_one_to_8192() -> None:
    for fused_add in (False, True):
        found = fibcore_workloads(made(fused_add=fused_add), {}, 0)
        assert found is not None
        assert [c.axes["batch_size"] for c in found] == [2**i for i in range(14)]


def test_norms_of_others_are_not_guessed() -> None:
    one = made(fused_add=False)
    inputs = {**one.inputs, "scale": scalar("float32")}
    reference = "EPS = 1e-6\ndef run(hidden_states, weight, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(one, inputs=inputs, reference=reference), {}, 0) == ()


def test_every_second_of_few_rows_is_so_small_that_epsilon_matters() -> None:
    for fused_add in (False, True):
        cases = fibcore_workloads(made(fused_add=fused_add), {}, 0)
        assert cases is not None
        tensors = cases[3].tensors()
        assert list(tensors) == ["hidden_states", "residual"][: 1 + fused_add]
        total = sum(tensors.values())
        squares = (total**2).mean(-1)
        assert all(0.5 < value < 2 for value in squares[1::2])
        assert all(1e-6 < value < 1e-5 for value in squares[0::2])
        assert not cases[-1].tensors()
