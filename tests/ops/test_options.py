"""The options that the op types of several plugins declare together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from fibcore.errors import PluginError, UsageError
from fibcore.model.kernel import Extraction
from fibcore.model.options import Option
from fibcore.model.serving import Serving
from fibcore.ops.checks import RESERVED
from fibcore.ops.hookspecs import OpType, hookimpl
from fibcore.ops.options import DeclaredOptions
from fibcore.ops.registry import Registry, load_plugins
from fibcore.testing.trees import tree

BLOCKS: Option[tuple[int, ...]] = Option(
    "block_size", default=(1, 64), help="Block sizes.", recorded_as="block_sizes"
)
LAYOUT: Option[str] = Option(
    "a_layout", default="nhd", help="Layout.", choices={"nhd": "heads last", "hnd": "heads first"}
)
DECLARED = DeclaredOptions([("one", LAYOUT), ("one", BLOCKS), ("two", BLOCKS)])


def plugin(op_type: str, *options: Option[Any], seen: list[Serving] | None = None) -> object:
    def extract(serving: Serving) -> Extraction:
        if seen is not None:
            seen.append(serving)
        return Extraction()

    return SimpleNamespace(
        fibcore_op_types=hookimpl(lambda: [OpType(op_type, "an op", options)]),
        fibcore_extract=hookimpl(extract),
    )


def registry(**plugins: object) -> Registry:
    return load_plugins(extra=plugins, discover=False)


def test_those_of_several_values_come_first() -> None:
    assert list(DECLARED) == ["block_size", "a_layout"]
    assert DECLARED.several == (BLOCKS,)


def test_plugins_share_an_option_that_they_declare_identically() -> None:
    plugins = registry(one=plugin("one", BLOCKS, LAYOUT), two=plugin("two", attrs.evolve(BLOCKS)))
    assert dict(plugins.options) == dict(DECLARED)


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(BLOCKS, default=(1,)),
        attrs.evolve(BLOCKS, help="Sizes."),
        attrs.evolve(BLOCKS, name="blocks"),  # recorded under the same name
    ],
)
def test_declarations_that_disagree(other: Option[Any]) -> None:
    with pytest.raises(PluginError, match="declare an option differently") as caught:
        registry(one=plugin("one", BLOCKS), two=plugin("two", other))
    assert "op type one: " in str(caught.value.found)
    assert "op type two: " in str(caught.value.found)


@pytest.mark.parametrize("name", ["tp", "op_type", "json"])
def test_an_option_of_the_core_cannot_be_declared(name: str) -> None:
    assert name in RESERVED
    with pytest.raises(PluginError, match="the core has one of this name"):
        registry(one=plugin("one", Option(name, default=1, help="Mine.")))


def test_a_declaration_that_is_none() -> None:
    with pytest.raises(PluginError, match="has no help"):
        registry(one=plugin("one", Option("mine", default=1, help="")))
    with pytest.raises(PluginError, match="not Option"):
        registry(one=plugin("one", "block_size"))  # type: ignore[arg-type]


def test_what_a_caller_asks_for() -> None:
    given = {"block_size": 16, "a_layout": None}
    assert DECLARED.asked(given) == {"block_size": (16,)}
    assert DECLARED.asked({"block_size": ()}) == {}
    with pytest.raises(UsageError) as caught:
        DECLARED.asked({"blok_size": 16})
    assert caught.value.where == "blok_size"
    assert caught.value.expected is not None
    assert caught.value.expected.startswith("block_size")
    with pytest.raises(UsageError, match="cannot have this value"):
        DECLARED.asked({"a_layout": "x"})


def test_without_plugins_there_is_no_option() -> None:
    with pytest.raises(UsageError) as caught:
        registry().options.asked({"block_size": 16})
    assert caught.value.expected == "none: no installed plugin declares any"


def test_values_are_the_first_that_are_known() -> None:
    asked, catalogue = {"block_size": (16,)}, {"block_size": (1,), "a_layout": "hnd", "gone": 3}
    assert DECLARED.completed(asked, catalogue) == {"block_size": (16,), "a_layout": "hnd"}
    assert DECLARED.completed() == {"block_size": (1, 64), "a_layout": "nhd"}


def test_plugins_see_every_option() -> None:
    seen: list[Serving] = []
    plugins = registry(one=plugin("one", BLOCKS, LAYOUT, seen=seen))
    plugins.extract(tree(), Serving(options={"a_layout": "hnd"}))
    assert dict(seen[0].options) == {"block_size": (1, 64), "a_layout": "hnd"}


def test_what_is_recorded() -> None:
    assert DECLARED.recorded({"block_size": (16,), "a_layout": "hnd"}) == {"a_layout": "hnd"}
    assert DECLARED.recorded({"block_size": (16,), "a_layout": "nhd"}) == {}


def test_words_of_a_command_line_and_of_reports() -> None:
    values = {"a_layout": "hnd", "block_size": (16, 64)}
    assert DECLARED.command_line(values) == ("--block-size", "16,64", "--a-layout", "hnd")
    assert DECLARED.describe({**values, "gone": 3}) == ("heads first", "block size 16,64", "gone 3")
