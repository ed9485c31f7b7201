"""What the test template asks of a kernel's product beside the reference's."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.plugin import Definition

torch = pytest.importorskip("torch")

K = 4096
ALLOWED = K / 32 * 2.0**-13  # of what elements are in size


class OnGPU(torch.Tensor):  # type: ignore[misc]
    """A tensor that says that it is on a GPU."""

    @property
    def is_cuda(self) -> bool:
        return True


def off(made: Definition, error: float, *, gpu: bool) -> float:
    """By how much a product that has an error is held to be off."""
    from fibcore_op_gemm import test_template

    expected = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    actual = expected + error
    found: list[Any] = []
    test_template.compare(
        made.to_dict(),
        {"M": 1},
        "C",
        actual.as_subclass(OnGPU) if gpu else actual,
        expected,
        lambda a, e: found.append((a.as_subclass(torch.Tensor) - e).abs().max()),
    )
    (largest,) = found
    return float(largest)


def test_sums_of_whole_rows_on_a_gpu_may_be_off_by_their_steps(definition_of: Any) -> None:
    made = definition_of("gemm_fp8_per_tensor", 64, K)
    assert off(made, 0.9 * ALLOWED, gpu=True) == 0.0
    assert off(made, -0.9 * ALLOWED, gpu=True) == 0.0
    assert off(made, 2 * ALLOWED, gpu=True) == pytest.approx(ALLOWED, rel=1e-4)
    assert off(made, ALLOWED, gpu=False) == pytest.approx(ALLOWED, rel=1e-4)


@pytest.mark.parametrize("name", ["gemm_fp8_per_channel", "gemm_fp8_block_scale", "gemm"])
def test_other_products_are_compared_as_they_are(definition_of: Any, name: str) -> None:
    made = definition_of(name, 256, K)
    assert off(made, ALLOWED, gpu=True) == pytest.approx(ALLOWED, rel=1e-4)
