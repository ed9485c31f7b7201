"""What the labels of numbers on hand-kept pages mean."""

from __future__ import annotations

import pytest

from fibcore.reports.coverage.handkept.quantities import meaning


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("KV heads", "KV heads"),
        ("num_key_value_heads", "num_key_value_heads"),
        ("# Layers", "layers"),
        ("Number of layers", "layers"),
        ("query heads", "attention heads"),
        ("Head dim", "head size"),
        ("MoE intermediate size", "moe_intermediate_size"),
        ("FFN", "intermediate size"),
        ("Vocab", "vocabulary"),
        ("colour", None),
        ("", None),
    ],
)
def test_labels(label: str, name: str | None) -> None:
    found = meaning(label, {"moe_intermediate_size": 1, "num_key_value_heads": 2})
    assert (found[0] if found else None) == name
