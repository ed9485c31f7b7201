"""Lists of layer names in a quantisation config."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python.values import Ext, Obj
from fibcore.elaborate.sglang.layer_names import LayerNames


class TestLayerNames:
    """Layers that a list of names tells alike are asked about once."""

    @staticmethod
    def names(*given: str, **more: Any) -> LayerNames:
        config = Obj(Ext("config"))
        config.attrs.update({"ignored_layers": list(given), **more})
        return LayerNames(config)

    def test_what_is_said_of_a_layer_does_not_hang_on_its_number(self) -> None:
        names = self.names("lm_head", *(f"model.layers.{i}.mlp.gate" for i in range(12)))
        assert names.simple
        assert names.about(1) == names.about(11) == {"model.layers.#.mlp.gate"}

    def test_layers_that_are_told_apart(self) -> None:
        names = self.names("model.layers.1.mlp.gate", "model.layers.2.mlp.gate", "model.layers.2.o")
        assert names.about(1) != names.about(2)

    def test_only_the_names_of_a_layer_and_those_of_none_are_left(self) -> None:
        names = self.names("lm_head", "model.layers.1.mlp.gate", "model.layers.11.mlp.gate")
        assert names.only(1).attrs["ignored_layers"] == ["lm_head", "model.layers.1.mlp.gate"]
        assert names.about(1) == names.about(11)
        assert names.about(2) == frozenset()

    @pytest.mark.parametrize(
        "name", ["re:.*gate", "model.layers.1", "1.mlp.gate", "model.layers.*.gate"]
    )
    def test_names_that_may_match_several_layers_are_searched_as_the_source_does(
        self, name: str
    ) -> None:
        assert not self.names("lm_head", name).simple

    def test_tables_by_layer_are_searched_as_the_source_does(self) -> None:
        assert not self.names("lm_head", layers={"model.layers.3.mlp": "fp8"}).simple
