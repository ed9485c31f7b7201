"""Steps of a dataset's models on its page, as the models were served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry

LINE = "--model-path llama-3.2-1b-instruct --tp 2 --page-size 1"


def test_steps_are_those_of_the_recorded_launch(
    sglang: Callable[[str], Path], op_plugins: Registry, tmp_path: Path
) -> None:
    place = {"sglang": sglang("0.5.9"), "registry": op_plugins, "dataset": tmp_path / "dataset"}
    fibcore.extract(launch=LINE, gpu="B200", op_type="rmsnorm", **place)
    fibcore.report(output=tmp_path / "plain.html", **place)
    fibcore.report(output=tmp_path / "steps.html", steps=True, gpu="H200", **place)
    plain = (tmp_path / "plain.html").read_text(encoding="utf-8")
    text = (tmp_path / "steps.html").read_text(encoding="utf-8")
    assert "Floors of a decode step" not in plain
    assert "Floors of a decode step" in text
    assert "Floors of a prefill step" in text
    assert "llama-3.2-1b-instruct (TP 2, EP 1), --page-size 1 on B200" in text
    assert "gqa_paged_decode_h16_kv4_d64_ps1" in text
    assert "microseconds on H200" in text


def test_a_gpu_is_one_of_steps(tmp_path: Path, op_plugins: Registry) -> None:
    with pytest.raises(UsageError, match="GPUs are those of steps"):
        fibcore.report(dataset=tmp_path, gpu="B200", registry=op_plugins)
