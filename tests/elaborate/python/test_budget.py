"""An evaluation comes to an end."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python import budget

HEAD = """
import torch
import torch.nn.functional as F
from torch import nn
import foreign
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import ReplicatedLinear
"""


def model(init: str, forward: str, before: str = "", arguments: str = "x") -> str:
    def block(text: str) -> str:
        lines = text.strip("\n").splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        return "\n".join("        " + line[indent:] for line in lines)

    return (
        f"{HEAD}{before}\n\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        f"        super().__init__()\n{block(init)}\n\n    def forward(self, {arguments}):\n"
        f"{block(forward)}\n\nEntryClass = Model\n"
    )


def test_a_forward_pass_that_never_ends_is_reported(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibcore.elaborate import session

    monkeypatch.setattr(session, "FORWARD_STEPS", 500)
    text = model("pass", "for i in range(100000):\n    x = x + 1")
    (missing,) = made.tree(text).missing
    assert (missing.path, "too long" in missing.reason) == ("forward", True)


def test_a_construction_that_never_ends_is_an_error(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibcore.elaborate.python import budget
    from fibcore.errors import ElaborationError

    monkeypatch.setattr(budget, "MAX_STEPS", 500)
    with pytest.raises(ElaborationError, match="takes more than any model"):
        made.attributes("for i in range(100000):\n    self.x = i")


def test_message_of_a_part_says_what_the_part_may_take() -> None:
    spent = budget.Budget()
    spent.spend(5000, "what was before")
    with spent.at_most(100), pytest.raises(budget.Exhausted, match="more than 100 steps"):
        spent.spend(101, "a part")
    with pytest.raises(budget.Exhausted, match=f"more than {budget.MAX_STEPS:,} steps"):
        spent.spend(budget.MAX_STEPS, "the whole")
