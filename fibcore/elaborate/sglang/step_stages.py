"""Branches on the stage of a step: `if forward_batch.forward_mode.is_decode():`.

A step is one of decode or of prefill, which SGLang calls extend (`srt/model_executor`,
`forward_batch_info.ForwardMode`). Modes of speculative decoding and mixed batches are neither, so a
method that is true of them too says nothing where it is true.

Kernels that add up over ranks and normalise take so many tokens at most (`batch_size <= 2048` in
`flashinfer_ar_fusion_applies` of 0.5.23): whether one takes a batch is a question whether that is a
step of decode, where nothing else is open.
"""

from __future__ import annotations

import ast
import re

_DECODE = frozenset({"is_decode", "is_decode_or_idle"})
_PREFILL = frozenset({"is_extend", "is_prefill", "is_extend_without_speculative"})
_MODE = "forward_mode"
_FUSES = re.compile(
    r"(?:should_|apply_|enable_|_sglang_needs_)\w*all_?reduce_fusion|\w*ar_fusion_applies"
    r"|should_fuse_mlp_allreduce\w*|(?:should_)?skip_(?:\w*_)?all_?reduce|mlp_ar_fusable|handled"
)
"""What asks, or says, whether one kernel adds a batch up over ranks and normalises it."""


def stage_of_side(test: ast.expr, *, holds: bool) -> str:
    """The stage in which a side of a branch is taken, "decode" or "prefill"; "" where it is any.

    Args:
        test: The condition.
        holds: Whether it is the side that is taken where the condition is true.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return stage_of_side(test.operand, holds=not holds)
    if isinstance(test, ast.BoolOp):
        # All parts are as the whole is: those of a true conjunction, or of a false disjunction.
        if any(map(_asks_fusion, test.values)):
            return "decode" if holds else "prefill"
        if isinstance(test.op, ast.And) is not holds:
            return ""
        return next(filter(None, (stage_of_side(v, holds=holds) for v in test.values)), "")
    if _asks_fusion(test):
        return "decode" if holds else "prefill"
    if not (isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute)):
        return ""
    if _last_name(test.func.value) != _MODE:
        return ""
    if test.func.attr in _DECODE:
        return "decode" if holds else "prefill"
    if test.func.attr in _PREFILL:
        return "prefill" if holds else "decode"
    return ""


def asks_size(test: ast.expr) -> bool:
    """Whether a condition asks for a kernel that takes so many tokens at most."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return asks_size(test.operand)
    return _asks_fusion(test)


def _last_name(value: ast.expr) -> str:
    return value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")


def _asks_fusion(test: ast.expr) -> bool:
    """Whether a condition asks for that kernel, whatever it asks besides."""
    if isinstance(test, ast.BoolOp):
        return any(map(_asks_fusion, test.values))
    return (
        _FUSES.fullmatch(_last_name(test.func if isinstance(test, ast.Call) else test)) is not None
    )
