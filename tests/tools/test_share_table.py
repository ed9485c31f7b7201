"""The table of shares of launches: a row for each model and step."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from fibcore.reports.launches import StepShare, Weighed
from fibcore.reports.survey.report import SurveyedModel, SurveyReport

TOOL = Path(__file__).resolve().parents[2] / "tools" / "share_table.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("share_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row() -> SurveyedModel:
    states = {"defined": 3, "copy": 1, "collective": 2, "named": 1, "unknown": 0}
    step = StepShare(
        stage="decode",
        batch="a batch",
        launches=states,
        floors={**dict.fromkeys(states, 0.0), "defined": 3e-6, "named": 1e-6},
        without_cost=dict.fromkeys(states, 0),
        kernels=(
            Weighed("defined", "gemm", 3, 3e-6),
            Weighed("named", "experts", 1, 1e-6),
            Weighed("collective", "all_reduce", 2, None),
            Weighed("copy", "a copy", 1, None),
        ),
    )
    return SurveyedModel("A", "a", "a-7b", "catalogue:a-7b", "whole", tp=2, steps=(step,))


def test_a_row_for_each_step(tool: ModuleType) -> None:
    text = "\n".join(tool.lines("0.5.23", [row()], None))
    assert "SGLang 0.5.23" in text
    row_of_step = (
        "decode | 3 of 7 (42.9 %) | 75.0 % | at most 75.0 % | all_reduce (2), a copy (1) |"
    )
    assert f"| a-7b | 2/1 | {row_of_step} experts (1) |" in text


def test_totals_of_many_configs(tool: ModuleType) -> None:
    everything = SurveyReport("sglang", (row(), row()))
    text = "\n".join(tool.lines("0.5.23", [], everything))
    assert "All 2 configs" in text
    assert (
        "- decode: 6 (42.9 %) of 14 launches have a definition, 12 (85.7 %) with copies and "
        "collectives" in text
    )


def test_the_page_of_the_repository_has_all_its_models(tool: ModuleType) -> None:
    page = (TOOL.parents[1] / "docs" / "share.md").read_text("utf-8")
    written = json.loads(tool.CONFIGS.read_text("utf-8"))
    assert set(tool.LARGE) <= set(written)
    for model in (*tool.MODELS, *(f"{name}{tool.WRITTEN}" for name in written)):
        assert page.count(f"| {model} |") == 2, model


def test_models_whose_sizes_were_written_down_have_a_star(tool: ModuleType) -> None:
    text = "\n".join(tool.lines("0.5.23", [attrs.evolve(row(), origin="file:a.json")], None))
    assert "| a-7b \\* | 2/1 |" in text


def test_the_written_configs_name_their_architectures(tool: ModuleType) -> None:
    written = json.loads(tool.CONFIGS.read_text("utf-8"))
    assert not set(written) & set(tool.MODELS)
    for name, config in written.items():
        assert name == name.lower()
        assert len(config["architectures"]) == 1
