"""The kernels of a step in order, with shares of its floor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.reports.step import StepReport

Stepped = Callable[..., StepReport]


@pytest.fixture
def stepped(tiny_source: Path, tiny_config: Path, op_plugins: Any) -> Stepped:
    def run(**more: Any) -> StepReport:
        return fibcore.step(
            "tiny", sglang=tiny_source, config=tiny_config, registry=op_plugins, **more
        )

    return run


def test_shares_are_parts_of_the_floor(stepped: Stepped) -> None:
    report = stepped(gpu="H100")
    assert [step.stage for step in report.models[0].steps] == ["decode", "prefill"]
    for step in report.models[0].steps:
        assert sum(kernel.share for kernel in step.kernels) == pytest.approx(1)
        assert sum(k.floors.get("H100", 0) for k in step.kernels) == pytest.approx(
            step.floors["H100"]
        )
        largest = max(step.kernels, key=lambda kernel: kernel.share)
        assert step.advice.startswith(f"{largest.what} has ")


def test_kernels_stand_in_the_order_of_the_forward_pass(stepped: Stepped) -> None:
    names = [kernel.what for kernel in stepped().models[0].steps[0].kernels]
    attention = next(n for n, name in enumerate(names) if name.startswith("gqa_"))
    norm = next(n for n, name in enumerate(names) if name.startswith("rmsnorm"))
    assert norm < attention < len(names) - 1


def test_costs_are_those_of_all_launches_of_a_rank(stepped: Stepped) -> None:
    step = stepped(gpu="H100", tp=2, batch=32).models[0].steps[0]
    gemms = [kernel for kernel in step.kernels if kernel.op_type == "gemm"]
    assert any(kernel.count == 2 for kernel in gemms)
    for kernel in gemms:
        n, k = map(int, kernel.what.removeprefix("gemm_n_").split("_k_"))
        assert kernel.flops == 2 * 32 * n * k * kernel.count
        moved = 2 * (32 * k + n * k + 32 * n) * kernel.count
        assert kernel.bytes == moved
        assert kernel.floors["H100"] == pytest.approx(moved / 3.35e12, rel=0.02)
    # 64 columns of the output projection over two ranks; the dataset has whole layers.
    assert "gemm_n_64_k_32" in [kernel.what for kernel in gemms]


def test_a_larger_batch_takes_longer_and_a_rank_less(stepped: Stepped) -> None:
    def floor(**more: Any) -> float:
        return stepped(gpu="H200", **more).models[0].steps[0].floors["H200"]

    assert floor() < floor(batch=512) < floor(batch=512, keys=8192)
    assert floor(tp=2) < floor()


def test_the_page_and_json(stepped: Stepped, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    report = stepped(output=tmp_path / "step.html")
    text = (tmp_path / "step.html").read_text()
    assert report.output is not None
    assert "First to optimise" in text
    assert "<svg" in text
    data = json.loads(json.dumps(report.to_dict()))
    assert data["models"][0]["steps"][0]["kernels"][0]["count"] > 0


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"prefill_tokens": 2}, {"keys": True}])
def test_sizes_that_make_no_sense(stepped: Stepped, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        stepped(**wrong)


def test_a_name_that_nobody_knows_is_wrong_usage(tiny_source: Path, op_plugins: Any) -> None:
    report = fibcore.step("tinyy", sglang=tiny_source, registry=op_plugins)
    assert report.exit_code == 2
