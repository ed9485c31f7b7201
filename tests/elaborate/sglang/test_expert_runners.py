"""The tables that modules of expert runners enter their functions into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.elaborate.python.values import Raised
from fibcore.elaborate.sglang import expert_runners
from fibcore.model.tree import SourcePlace, Unknown

PLACE = SourcePlace("sglang/srt/layers/moe/moe_runner/runner.py", 1)


@pytest.fixture
def evaluator(tmp_path: Path) -> Any:
    return SimpleNamespace(index=SimpleNamespace(root=tmp_path, package="sglang"))


def entry(evaluator: Any, decorator: str, *names: Any) -> Any:
    return expert_runners._entry(decorator, evaluator, list(names), {}, PLACE)


def test_a_fused_function_may_be_missing_and_a_step_may_not(evaluator: Any) -> None:
    assert entry(evaluator, "register_fused_func", "none", "deep_gemm") is None
    for decorator in ("register_pre_permute", "register_post_permute"):
        with pytest.raises(Raised, match="nothing is entered for standard and deep_gemm"):
            entry(evaluator, decorator, "standard", "deep_gemm")


def test_a_name_that_is_not_known_gives_nothing_that_is(evaluator: Any) -> None:
    found = entry(evaluator, "register_fused_func", Unknown("a flag"), "deep_gemm")
    assert isinstance(found, Unknown)
