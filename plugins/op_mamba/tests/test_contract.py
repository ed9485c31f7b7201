"""The contract that every plugin has to hold, on both forms."""

from __future__ import annotations

import attrs

import fibcore_op_mamba
from fibcore.plugin import ModuleNode, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import module, tree


def mixer(path: str, nheads: int, head_dim: int, groups: int) -> ModuleNode:
    attributes = {
        "tp_size": 2,
        "head_dim": head_dim,
        "ssm_state_size": 16,
        "n_groups": groups,
        "A": ParameterRef(f"{path}.A", (nheads,), "float32"),
    }
    cls = "sglang.srt.layers.attention.mamba.mamba.MambaMixer2"
    node = module(path, cls, {"cache_params": None, "n_groups": groups})
    return attrs.evolve(node, attributes=attributes, leaf=False)


class TestContract(PluginContract):
    plugin = fibcore_op_mamba
    trees = ((tree(mixer("first", 4, 8, 4), mixer("last", 3, 12, 2)), Serving(tp=2)),)
