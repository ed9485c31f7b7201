"""The contract that every plugin has to hold, on gated norms of every form."""

from __future__ import annotations

import fibcore_op_gated_rmsnorm
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree

FLA = "sglang.kernels.ops.attention.fla."
MAMBA = "sglang.srt.layers.attention.mamba."


def fused(path: str, hidden_size: int, activation: str) -> ModuleNode:
    arguments = {"hidden_size": hidden_size, "eps": 1e-5, "activation": activation}
    cls = FLA + "fused_norm_gate.FusedRMSNormGated"
    return module(path, cls, arguments, calls=[call(TENSOR, TENSOR)])


def rows(path: str, hidden_size: int, group_size: int | None, activation: str) -> ModuleNode:
    arguments = {"hidden_size": hidden_size, "eps": 1e-5, "group_size": group_size}
    arguments |= {"norm_before_gate": True, "activation": activation}
    cls = FLA + "layernorm_gated.RMSNorm"
    return module(path, cls, arguments, calls=[call(TENSOR, TENSOR)])


def mixer(path: str, hidden_size: int, groups: int, *, norm: bool = True) -> ModuleNode:
    arguments = {"full_hidden_size": hidden_size, "full_n_groups": groups, "eps": 1e-5}
    cls = MAMBA + "mixer2_rms_norm_gated.Mixer2RMSNormGated"
    inside = module(f"{path}.norm", cls, {**arguments, "use_rms_norm": norm})
    sizes = {"tp_size": 1}
    return module(path, MAMBA + "mamba.MambaMixer2", children=[inside], attributes=sizes)


NORMS = (
    fused("silu", 48, "silu"),
    fused("sigmoid", 48, "sigmoid"),
    rows("groups", 64, 16, "swish"),
    rows("sigmoid_groups", 64, 16, "sigmoid"),
    mixer("first", 48, 1),
    mixer("first_groups", 96, 2),
    mixer("gate_alone", 48, 1, norm=False),
)


class TestContract(PluginContract):
    plugin = fibcore_op_gated_rmsnorm
    trees = ((tree(*NORMS), Serving()),)
