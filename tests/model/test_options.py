"""Options that op types declare: their values, and declarations that are none."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fibcore.errors import UsageError
from fibcore.model.options import Option
from fibcore.model.serving import Serving

BLOCKS: Option[tuple[int, ...]] = Option(
    "block_size", default=(1, 64), help="Block sizes.", recorded_as="block_sizes"
)
LANES: Option[int] = Option("lanes", default=4, help="Lanes.")
LAYOUT: Option[str] = Option(
    "cache_layout",
    default="nhd",
    help="Layout.",
    choices={"nhd": "heads last", "hnd": "heads first"},
)
MODES: Option[tuple[str, ...]] = Option(
    "modes", default=("a",), help="Modes.", choices={"a": "mode a", "b": "mode b"}
)


def test_names() -> None:
    assert (BLOCKS.flag, BLOCKS.title, BLOCKS.origin) == (
        "--block-size",
        "block size",
        "serving:block_sizes",
    )
    assert LAYOUT.origin == "serving:cache_layout"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        (BLOCKS, 16, (16,)),
        (BLOCKS, [16, 1, 16], (16, 1)),
        (LANES, 8, 8),
        (LAYOUT, "hnd", "hnd"),
        (MODES, "b", ("b",)),
        (MODES, ["b", "a"], ("b", "a")),
    ],
)
def test_values(option: Option[Any], value: object, expected: object) -> None:
    assert option.checked(value) == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((BLOCKS, value) for value in (0, True, "x", "16,", 1.5, (16, -1), None, ())),
        *((LANES, value) for value in ((1, 2), "1,2", 0)),
        *((LAYOUT, value) for value in ("x", 3, ("nhd", "hnd"))),
    ],
)
def test_values_that_an_option_cannot_have(option: Option[Any], value: object) -> None:
    with pytest.raises(UsageError) as caught:
        option.checked(value)
    assert caught.value.where == option.flag
    assert caught.value.found == repr(value)


def test_text_and_description() -> None:
    assert BLOCKS.text((1, 64)) == "1,64"
    assert BLOCKS.describe((1, 64)) == "block size 1,64"
    assert LAYOUT.describe("hnd") == "heads first"
    assert LANES.describe(8) == "lanes 8"


def test_serving_has_a_value_for_every_option() -> None:
    assert Serving().value(BLOCKS) == (1, 64)
    assert Serving(options={"block_size": (16,)}).value(BLOCKS) == (16,)


@pytest.mark.parametrize("option", [BLOCKS, LANES, LAYOUT, MODES])
def test_good_declarations(option: Option[Any]) -> None:
    assert option.problem() is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "--blocks"}, "an option is named '--blocks'"),
        ({"recorded_as": "Blocks"}, "an option is named 'Blocks'"),
        ({"help": " "}, "the option block_size has no help"),
        ({"default": ()}, "the option block_size has no default"),
        ({"default": True}, "the default of the option block_size is True"),
        ({"default": 1.5}, "the default of the option block_size is 1.5"),
        ({"default": (0,)}, "the default of the option block_size is (0,)"),
        ({"default": (1, 1)}, "the default of the option block_size is (1, 1)"),
        ({"choices": {"a": "b"}}, "numbers with choices"),
        ({"default": "fast"}, "words and no choices"),
        ({"default": "fast", "choices": {"slow": "slow"}}, "is 'fast'"),
    ],
)
def test_bad_declarations(changes: dict[str, Any], problem: str) -> None:
    found = attrs.evolve(BLOCKS, **changes).problem()
    assert found is not None
    assert problem in found
