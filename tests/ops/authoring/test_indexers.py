"""How an indexer of sparse attention runs the layers that it holds."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown
from fibcore.ops.authoring.decided import UndecidedError
from fibcore.ops.authoring.indexers import kernels_of_indexer
from fibcore.testing.trees import TENSOR, call, module, tree

INDEXER = "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer"


def kernels(
    cls: str = INDEXER, *, called: bool = True, **attributes: Any
) -> tuple[str, ...] | None:
    layer = module("indexer.k_norm", "sglang.srt.layers.layernorm.LayerNorm")
    calls = [call(TENSOR)] if called else []
    holder = module("indexer", cls, attributes=attributes, calls=calls, children=[layer])
    return kernels_of_indexer(layer, tree(holder))


def test_layers_are_called_where_nothing_says_otherwise() -> None:
    assert kernels() == ()
    assert kernels(cls=INDEXER.replace("dsa", "nsa"), use_dsa_indexer_fusion=False) == ()


def test_kernels_that_take_their_parameters_are_named() -> None:
    found = kernels(use_dsa_indexer_fusion=True)
    assert found == ("fused_q_indexer_rope_first_quant", "fused_k_indexer_norm_rope_store")
    assert kernels(use_aiter_fused_fp8_writer=True) == ("aiter_fused_fp8_qk_write",) * 2


def test_what_is_not_known_is_not_guessed() -> None:
    with pytest.raises(UndecidedError, match="use_dsa_indexer_fusion"):
        kernels(use_dsa_indexer_fusion=Unknown("an option"))


def test_other_classes_and_what_is_not_called_are_left_alone() -> None:
    assert kernels(cls="sglang.srt.models.example.Indexer") is None
    assert kernels(called=False) is None
