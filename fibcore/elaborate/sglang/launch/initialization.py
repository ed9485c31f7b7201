"""What the server initialises from its arguments before it constructs a model.

Backends of experts and of GEMMs are variables of modules, which a function of the source sets
(`initialize_moe_config(server_args)`). Where they are not set the source has the defaults, so this
is for launches alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fibcore.elaborate.python.values import Func, Raised
from fibcore.model.tree import SourcePlace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.environment import Environment

_FUNCTIONS = (
    ("srt.layers.moe.utils", "initialize_moe_config"),
    ("srt.layers.quantization.fp8_utils", "initialize_fp8_gemm_config"),
    ("srt.layers.quantization.fp4_utils", "initialize_fp4_gemm_config"),
    ("srt.layers.quantization.bf16_utils", "initialize_bf16_gemm_config"),
    ("srt.layers.attention.mamba.ops", "initialize_mamba_selective_state_update_backend"),
    ("srt.layers.attention.linear.utils", "initialize_linear_attn_config"),
)
"""`Scheduler.init_moe_gemm_config` and its neighbours; releases have some of them."""


def initialize(ev: Evaluator, environment: Environment) -> list[str]:
    """Run the functions that set variables of modules from the server's arguments.

    Returns:
        What could not be followed, a sentence each.
    """
    notes = []
    known = environment.shims.server.server_args(ev, [], {}, SourcePlace("server arguments", 1))
    for module, name in _FUNCTIONS:
        source = ev.index.module(f"{ev.index.package}.{module}")
        if source is None or f"def {name}(" not in source.text:
            continue
        function = ev.modules.imported(source.name, name)
        if not isinstance(function, Func):
            continue
        arguments = [known] if function.node.args.args else []
        try:
            ev.calls.call(function, arguments, {}, function.place)
        except Raised as error:
            notes.append(f"{name} of the launch: {error.kind}: {error.message}")
    return notes
