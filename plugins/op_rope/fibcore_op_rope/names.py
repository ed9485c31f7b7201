"""What a rotary position embedding is called: op type, styles, inputs, and the name of a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import OpType

OP_TYPE = "rope"

OP_TYPES = (
    OpType(
        OP_TYPE,
        "rotary position embedding of queries and keys, from a table",
        parallel_tags=False,
    ),
)

NEOX, GPTJ = "neox", "gptj"
STYLES = (NEOX, GPTJ)
"""Which elements are a pair: one of each half, or two that stand side by side."""

INPUTS = ("q", "k", "cos_sin_cache", "positions")
"""The inputs of a definition, in order."""
OUTPUTS = ("q_out", "k_out")
"""Its outputs, in order."""
ROWS = ("q", "k", "cos", "sin")
"""The inputs of a definition that is given every token's cosines and sines, in order."""
ANGLES = ("positions", "inv_freq", "attention_scaling")
"""The inputs of a definition that gives every token's cosines and sines, in order."""
ANGLES_OUTPUTS = ("cos", "sin")
VAR_AXES = ("num_tokens", "num_qo_heads", "num_kv_heads", "max_seq_len")
ROWS_VAR_AXES = VAR_AXES[:-1]

API = "flashinfer.rope.apply_rope_with_cos_sin_cache"
"""FlashInfer's function; SGLang calls the one that works in place."""


def kernel_name(style: str, head_size: int, rotary_dim: int) -> str:
    """The definition's name, such as `rope_with_cos_sin_cache_neox_style_d128_rd64`."""
    return f"rope_with_cos_sin_cache_{style}_style_d{head_size}_rd{rotary_dim}"


def mrope_name(
    style: str, head_size: int, rotary_dim: int, sections: Sequence[int], *, interleaved: bool
) -> str:
    """The same with several positions a token: `mrope_with_..._d128_rd128_s16_24_24`."""
    parts = "_".join(str(int(section)) for section in sections)
    taking_turns = "_interleaved" if interleaved else ""
    return f"m{kernel_name(style, head_size, rotary_dim)}_s{parts}{taking_turns}"


def rows_name(head_size: int) -> str:
    """The same where every token's cosines and sines are given: `rope_with_cos_sin_..._d256`."""
    return f"rope_with_cos_sin_{NEOX}_style_d{head_size}"


def angles_name(head_size: int) -> str:
    """The name of the definition that gives cosines and sines: `rotary_cos_sin_d256`."""
    return f"rotary_cos_sin_d{head_size}"
