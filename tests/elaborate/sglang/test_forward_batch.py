"""Fields of the forward batch that are tensors, by the source's annotations."""

from __future__ import annotations

from typing import Any

import pytest
from forward_models import calls, model

from fibcore.model.tree import Unknown

ARGUMENTS = "x, forward_batch"
BATCH = """
from dataclasses import dataclass
from typing import Optional
import torch

@dataclass
class ForwardBatch:
    batch_size: int
    ids: torch.Tensor
    embeds: Optional[torch.Tensor] = None
    newer: torch.Tensor | None = None  # shape: [b]
    mode: object = None
"""


@pytest.mark.parametrize(
    ("body", "tensor"),
    [
        ("return self.norm(x, forward_batch.ids)", True),
        (
            "if forward_batch.embeds is not None:\n    x = self.norm(x, forward_batch.embeds)",
            True,
        ),
        ("if forward_batch.newer is not None:\n    x = self.norm(x, forward_batch.newer)", True),
        ("return self.norm(x, forward_batch.mode)", False),
        ("return self.norm(x, forward_batch.embeds)", False),
    ],
)
def test_fields_are_tensors_as_annotations_say(made: Any, body: str, tensor: bool) -> None:
    made.write("srt/model_executor/forward_batch_info.py", BATCH)
    text = model("self.norm = RMSNorm(8)", body, arguments=ARGUMENTS)
    (call,) = calls(made.tree(text), "norm")
    residual = call.argument(1, "residual")
    assert (isinstance(residual, Unknown) and residual.is_tensor) is tensor


def test_a_field_that_may_be_none_is_either(made: Any) -> None:
    made.write("srt/model_executor/forward_batch_info.py", BATCH)
    body = "x = self.norm(x)\nif forward_batch.embeds is None:\n    x = self.other(x)"
    text = model("self.norm = RMSNorm(8)\nself.other = RMSNorm(8)", body, arguments=ARGUMENTS)
    assert len(calls(made.tree(text), "other")) == 1


@pytest.mark.parametrize(
    ("test", "called"),
    [
        ("forward_batch.forward_mode.is_idle()", [True, False]),
        ("forward_batch.forward_mode.is_decode()", [True, True]),
        ("forward_batch.forward_mode == foreign.EXTEND", [True, True]),
        ("forward_batch.forward_mode in (1, 2)", [True, True]),
        ("not forward_batch.forward_mode", [True, True]),
    ],
)
def test_a_batch_is_of_any_mode_but_idle(made: Any, test: str, called: list[bool]) -> None:
    made.write("srt/model_executor/forward_batch_info.py", BATCH)
    body = f"if {test}:\n    return self.other(x)\nreturn self.norm(x)"
    text = model("self.norm = RMSNorm(8)\nself.other = RMSNorm(8)", body, arguments=ARGUMENTS)
    tree = made.tree(text)
    assert [bool(calls(tree, name)) for name in ("norm", "other")] == called


@pytest.mark.parametrize(
    ("test", "stages"),
    [
        ("forward_batch.forward_mode.is_decode()", ["prefill", "decode"]),
        ("not forward_batch.forward_mode.is_decode() and foreign.images(x)", ["", "prefill"]),
        ("foreign.images(x)", ["", ""]),
    ],
)
def test_a_call_says_in_which_stage_alone_it_happens(
    made: Any, test: str, stages: list[str]
) -> None:
    made.write("srt/model_executor/forward_batch_info.py", BATCH)
    body = f"if {test}:\n    x = self.other(x)\nelse:\n    x = self.norm(x)\nreturn x"
    text = model("self.norm = RMSNorm(8)\nself.other = RMSNorm(8)", body, arguments=ARGUMENTS)
    tree = made.tree(text)
    assert [call.stage for name in ("norm", "other") for call in calls(tree, name)] == stages


BUFFERS = """
import torch

class _Buffers:
    _rows: int = 0

    @classmethod
    def set_rows(cls, rows):
        cls._rows = rows

def get_local_dp_buffer(group):
    return torch.empty((_Buffers._rows, 8))

def get_local_dp_buffer_len():
    return _Buffers._rows
"""


@pytest.mark.parametrize(
    "rows", ["get_local_dp_buffer(None).shape[0]", "get_local_dp_buffer_len()"]
)
def test_buffers_of_ranks_have_the_rows_of_a_step_not_those_before_it(made: Any, rows: str) -> None:
    made.write("srt/layers/dp_attention.py", BUFFERS)
    body = f"if {rows} == 0:\n    return x\nreturn self.norm(x)"
    text = model("self.norm = RMSNorm(8)", body)
    before = (
        "from sglang.srt.layers.dp_attention import get_local_dp_buffer, get_local_dp_buffer_len\n"
    )
    assert len(calls(made.tree(before + text), "norm")) == 1
