"""In which stage of a step a side of a branch is taken."""

from __future__ import annotations

import ast

import pytest

from fibcore.elaborate.sglang.step_stages import stage_of_side

MODE = "forward_batch.forward_mode"


@pytest.mark.parametrize(
    ("test", "true", "false"),
    [
        (f"{MODE}.is_decode()", "decode", "prefill"),
        (f"{MODE}.is_decode_or_idle()", "decode", "prefill"),
        (f"{MODE}.is_extend()", "prefill", "decode"),
        ("forward_mode.is_prefill()", "prefill", "decode"),
        (f"not {MODE}.is_decode()", "prefill", "decode"),
        (f"{MODE}.is_decode() and x > 1", "decode", ""),
        (f"x > 1 or {MODE}.is_decode()", "", "prefill"),
        (f"not (x or {MODE}.is_extend())", "decode", ""),
        (f"{MODE}.is_target_verify()", "", ""),
        ("self.other.is_decode()", "", ""),
        ("is_decode()", "", ""),
        ("x", "", ""),
        ("apply_flashinfer_allreduce_fusion(x.shape[0])", "decode", "prefill"),
        ("(aiter_ar_fusion_applies(x) or y()) and hasattr(norm, 'z')", "decode", "prefill"),
        ("x.shape[0] <= 4096 and args.enable_flashinfer_allreduce_fusion", "decode", "prefill"),
        ("ranks > 1 and not should_allreduce_fusion and not x", "prefill", ""),
        ("not skip_all_reduce", "prefill", "decode"),
    ],
)
def test_sides(test: str, true: str, false: str) -> None:
    parsed = ast.parse(test, mode="eval").body
    assert stage_of_side(parsed, holds=True) == true
    assert stage_of_side(parsed, holds=False) == false
