"""Summaries as JSON data and back."""

from __future__ import annotations

import json

from fibcore.elaborate.transformers.summaries.summary import ClassSummary, Expression, Step


def test_a_summary_comes_back_from_its_json() -> None:
    summary = ClassSummary(
        "MadeConfig",
        model_type="made",
        bases=("OtherConfig",),
        fields={"a": 1, "b": Expression("(1, 2)"), "c": {"=": 1, "d": 2}},
        steps=(
            Step.truth(0, "a is None", None),
            Step.before("a", "_if0"),
            Step("a", "b[0]", "_if0"),
            Step.nested("inner"),
            Step.base(None),
        ),
    )
    data = json.loads(json.dumps(summary.to_dict()))
    assert ClassSummary.from_dict(data) == summary
    assert set(data) == {"name", "model_type", "bases", "fields", "steps"}  # nothing empty


def test_kinds_of_steps() -> None:
    kinds = {
        "base": Step.base("_if1"),
        "nested": Step.nested("inner"),
        "truth": Step.truth(3, "a", None),
        "before": Step.before("a", None),
        "plain": Step("a", "1"),
    }
    assert [k for k, s in kinds.items() if s.is_base] == ["base"]
    assert [k for k, s in kinds.items() if s.is_nested] == ["nested"]
    assert [k for k, s in kinds.items() if s.is_temporary] == ["truth", "before"]
