"""Branches on the stage of a step: `if forward_batch.forward_mode.is_decode():`.

A step is one of decode or of prefill, which SGLang calls extend (`srt/model_executor`,
`forward_batch_info.ForwardMode`). Modes of speculative decoding and mixed batches are neither, so a
method that is true of them too says nothing where it is true.
"""

from __future__ import annotations

import ast

_DECODE = frozenset({"is_decode", "is_decode_or_idle"})
_PREFILL = frozenset({"is_extend", "is_prefill", "is_extend_without_speculative"})
_MODE = "forward_mode"


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
        if isinstance(test.op, ast.And) is not holds:
            return ""
        return next(filter(None, (stage_of_side(v, holds=holds) for v in test.values)), "")
    if not (isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute)):
        return ""
    asked = test.func.value
    name = asked.attr if isinstance(asked, ast.Attribute) else getattr(asked, "id", "")
    if name != _MODE:
        return ""
    if test.func.attr in _DECODE:
        return "decode" if holds else "prefill"
    if test.func.attr in _PREFILL:
        return "prefill" if holds else "decode"
    return ""
