"""The plugin against fibcore's contract for op-type plugins."""

from __future__ import annotations

from typing import ClassVar

import attrs
from mla_kit import FP8_CACHE, deepseek

import fibcore_op_mla
from fibcore.plugin import Serving
from fibcore.testing.contract import PluginContract, Tree
from fibcore.testing.trees import tree


class TestContract(PluginContract):
    plugin = fibcore_op_mla
    trees: ClassVar[list[Tree]] = [
        (
            tree(deepseek(heads=4, tp=2, nope=16, rope=8, vo=20, latent=24)),
            Serving(tp=2, options={"page_size": (1, 4)}),
        ),
        (tree(deepseek(heads=2, tp=1)), Serving(options={"page_size": (64,)}, stages=("prefill",))),
        (
            attrs.evolve(
                tree(deepseek(heads=2, tp=1, nope=16, rope=8, vo=20, latent=24)), config=FP8_CACHE
            ),
            Serving(options={"page_size": (1, 4)}),
        ),
    ]
