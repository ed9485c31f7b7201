"""Paths of layers that differ in a number alone, written as one and read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcore.model.kernel import Use
from fibcore.model.layer_paths import count_paths, expand_paths, group_uses, numbers_in, ranges
from fibcore.model.tree import SourcePlace

BIND = SourcePlace("sglang/srt/models/llama.py", 140)
LAYER = SourcePlace("sglang/srt/models/llama.py", 265)

NAMES = st.sampled_from(["model", "layers", "mlp", "experts", "0", "1", "2", "10", "007", "norm"])
PATHS = st.lists(NAMES, min_size=1, max_size=6).map(".".join)
USES = st.builds(Use, PATHS, st.sampled_from(["Norm", "Linear"]), st.sampled_from([BIND, LAYER]))


@settings(deadline=None)
@given(st.lists(USES, max_size=25))
def test_grouped_uses_are_the_uses(uses: list[Use]) -> None:
    groups = group_uses(uses)
    expanded = [
        Use(path, cls, place) for paths, cls, place in groups for path in expand_paths(paths)
    ]
    assert len(expanded) == len(set(expanded))
    assert set(expanded) == set(uses)


def test_layers_and_experts_make_one_line_each_layer() -> None:
    uses = [
        Use(f"layers.{layer}.experts.{expert}.up", "Linear", BIND)
        for layer in range(3)
        for expert in (0, 1, 2, 5)
    ]
    patterns = [paths for paths, _, _ in group_uses(uses)]
    assert patterns == [
        f"layers.{layer}.experts.{{0-2,5}}.up" for layer in range(3)
    ] or patterns == [f"layers.{{0-2}}.experts.{e}.up" for e in (0, 1, 2, 5)]


@given(st.sets(st.integers(0, 30), min_size=1))
def test_ranges_are_the_numbers(numbers: set[int]) -> None:
    assert numbers_in(ranges(numbers)) == sorted(numbers)


def test_neighbours_are_a_span() -> None:
    assert ranges([5, 0, 1, 2]) == "0-2,5"
    assert expand_paths("layers.{0-1,4}.mlp") == ["layers.0.mlp", "layers.1.mlp", "layers.4.mlp"]
    assert expand_paths("model.norm") == ["model.norm"]


@pytest.mark.parametrize("pattern", ["layers.{}.mlp", "layers.{1,,2}.mlp"])
def test_what_is_no_pattern(pattern: str) -> None:
    if "{}" in pattern:
        assert expand_paths(pattern) == [pattern]
    else:
        with pytest.raises(ValueError, match="invalid literal"):
            expand_paths(pattern)


def test_a_pattern_that_stands_for_more_paths_than_a_model_has_is_not_expanded() -> None:
    assert count_paths("layers.{0-100000000000}.proj") == 100_000_000_001
    assert count_paths("layers.{0-2,5}.proj") == len(expand_paths("layers.{0-2,5}.proj")) == 4
    assert count_paths("norm") == 1
    for pattern in ("layers.{0-100000000000}.proj", "layers.{0-60000,0-60000}.proj"):
        with pytest.raises(ValueError, match="more than 100000 layers"):
            expand_paths(pattern)
    with pytest.raises(ValueError, match="no numbers of layers"):
        expand_paths("layers.{" + "1" * 5000 + "}.proj")
