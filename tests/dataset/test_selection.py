"""What is chosen of a dataset; what was asked for and is empty is a problem."""

from __future__ import annotations

from pathlib import Path

import plugin_toy
import pytest

from fibcore.dataset import Dataset
from fibcore.dataset.selection import chosen_definitions, select
from fibcore.errors import UsageError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    store = Dataset(tmp_path)
    store.add(plugin_toy.definition(plugin_toy.kernel()))
    return store


def test_an_op_type_without_definitions_is_a_problem(dataset: Dataset) -> None:
    found = select(dataset, op_type=("toy", "other"), known_op_types=("toy", "other"))
    assert found.names == {"toy_h8"}
    (problem,) = found.problems
    assert "of the op type other" in str(problem)


def test_an_empty_dataset_is_a_problem(tmp_path: Path) -> None:
    empty = Dataset(tmp_path)
    (problem,) = select(empty).problems
    assert str(tmp_path) in str(problem)
    registry = plugin_toy.registry(toy=plugin_toy.plugin())
    _, problems = chosen_definitions(empty, registry, all_=True)
    assert [str(one) for one in problems] == [str(problem)]


def test_what_is_there_is_no_problem(dataset: Dataset) -> None:
    assert select(dataset).problems == ()
    assert select(dataset, definition_name=("toy_h8",)).names == {"toy_h8"}
    with pytest.raises(UsageError):
        select(dataset, op_type=("nothing",))
