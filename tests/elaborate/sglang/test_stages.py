"""How the norms of stage boundaries are called, by what their stages declare."""

from __future__ import annotations

from typing import Any

import pytest
from forward_models import kinds, model

from fibcore.model.tree import ModelTree

STAGES = """
class PlainAdd:
    pass

class ReplaceAtExit:
    pass

class Other:
    pass

class NormReadout:
    pass

class NormQuantReadout:
    pass

class UnfusedNormReadout:
    pass

class PostNorm:
    pass

class StageDeclaration:
    def __init__(self, read, update, output_transform=None):
        self.read = read
        self.update = update
        self.output_transform = output_transform

def append_stages(*stages):
    raise RuntimeError("needs a server")
"""


FINAL = """
def final_norm(hidden_states, forward_batch, layernorm):
    raise RuntimeError("needs a server")

def read_output(hidden_states, forward_batch, read, norm):
    raise RuntimeError("needs a server")
"""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("NormReadout(), PlainAdd()", "NormReadout(), PlainAdd()", ("fused", "fused")),
        ("NormReadout(), PlainAdd()", "NormQuantReadout(), PlainAdd()", ("fused", "fused")),
        ("NormReadout(), PlainAdd()", "UnfusedNormReadout(), PlainAdd()", ("plain", "fused")),
        ("NormReadout(), ReplaceAtExit()", "NormReadout(), PlainAdd()", ("plain", "fused")),
        ("NormReadout(), PlainAdd(), PostNorm()", "NormReadout(), PlainAdd()", (None, "fused")),
        ("NormReadout(), Other()", "NormReadout(), PlainAdd()", (None, "fused")),
        ("NormReadout(), PlainAdd()", "Other(), PlainAdd()", (None, "fused")),
        ("NormReadout(), PlainAdd()", "NormReadout(), ReplaceAtExit()", ("fused", "plain")),
    ],
)
def test_stage_boundaries_say_how_norms_run(
    made: Any, first: str, second: str, expected: tuple[str | None, str | None]
) -> None:
    made.write("srt/layers/layer_boundary/factories.py", STAGES)
    made.write("srt/layers/layer_boundary/residual/batch.py", FINAL)
    before = f"""
from sglang.srt.layers.layer_boundary.factories import *
from sglang.srt.layers.layer_boundary.residual import batch

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = RMSNorm(8)
        self.second = RMSNorm(8)
        self.attn, self.ffn = append_stages(
            (StageDeclaration({first}), self.first),
            (StageDeclaration({second}), self.second),
        )

    def forward(self, x):
        x = self.attn.prepare(x)
        return self.ffn.prepare(x)
"""
    text = model(
        "self.layers = nn.ModuleList([Layer() for i in range(3)])\nself.norm = RMSNorm(8)",
        "for layer in self.layers:\n    x = layer(x)\nreturn batch.final_norm(x, None, self.norm)",
        before,
    )
    tree = made.tree(text, version="0.5.23")
    inner, outer = ([kind] if kind else [] for kind in expected)
    assert kinds(tree, "layers.0.first") == ["plain"]  # nothing to add at the start of a stack
    assert kinds(tree, "layers.0.second") == inner
    for layer in (1, 2):
        assert kinds(tree, f"layers.{layer}.first") == outer
        assert kinds(tree, f"layers.{layer}.second") == inner
    assert kinds(tree, "norm") == ["fused"]
    assert tree.missing == ()


@pytest.mark.parametrize(
    ("read", "expected"),
    [("NormReadout()", ["fused"]), ("UnfusedNormReadout()", ["plain"]), ("Other()", [])],
)
def test_the_last_norm_of_a_stack_may_have_a_readout(
    made: Any, read: str, expected: list[str]
) -> None:
    made.write("srt/layers/layer_boundary/factories.py", STAGES)
    made.write("srt/layers/layer_boundary/residual/batch.py", FINAL)
    before = """
from sglang.srt.layers.layer_boundary.factories import *
from sglang.srt.layers.layer_boundary.residual import batch
"""
    text = model(
        "self.norm = RMSNorm(8)", f"return batch.read_output(x, None, {read}, self.norm)", before
    )
    assert kinds(made.tree(text, version="0.5.23"), "norm") == expected


BOUNDARY = """
class PlainAdd:
    is_plain_add = True

class NormReadout:
    def read(self, residual, norm):
        return norm(residual), residual

    def update_and_read(self, update, hidden_states, residual, norm):
        if not update.is_plain_add:
            return self.read(update.update(hidden_states, residual), norm)
        return norm(hidden_states, residual)

class Transform:
    def __init__(self, apply):
        self.apply = apply

class PostNorm:
    is_plain_add = False

    def __init__(self, norm):
        self.norm = norm

    def update(self, hidden_states, residual):
        return residual + self.norm(hidden_states)

class Stage:
    def __init__(self, update, output_transform=None):
        self.read, self.update = NormReadout(), update
        self.output_transform = output_transform

class Layer(nn.Module):
    def __init__(self, update, transformed):
        super().__init__()
        self.first, self.second, self.post = RMSNorm(8), RMSNorm(8), RMSNorm(8)
        attn = Stage(PostNorm(self.post) if update == "post" else PlainAdd(),
                     Transform(self.post) if transformed else None)
        self.a, self.b = append_stages((attn, self.first), (Stage(PlainAdd()), self.second))

    def forward(self, x):
        return self.b.prepare(self.a.prepare(x))
"""


def with_boundaries(made: Any, source: str) -> ModelTree:
    """The tree of a model of layers that have stage boundaries."""
    made.write("srt/layers/layer_boundary.py", "def append_stages(*stages):\n    return stages\n")
    head = (
        "from torch import nn\n"
        "from sglang.srt.layers.layernorm import RMSNorm\n"
        "from sglang.srt.layers.layer_boundary import append_stages\n"
    )
    tree: ModelTree = made.tree(f"{head}{BOUNDARY}\n{source}", version="0.5.23")
    return tree


@pytest.mark.parametrize(
    ("arguments", "first", "second", "post"),
    [
        ("'plain', False", 1, 2, None),
        ("'plain', True", 1, 2, 1),
        ("'post', False", 1, 1, 1),
    ],
    ids=["plain add", "with a transform of the output", "an update with a norm of its own"],
)
def test_norms_of_stage_boundaries_are_called_as_their_reads_say(
    made: Any, arguments: str, first: int, second: int, post: int | None
) -> None:
    tree = with_boundaries(
        made,
        "class Model(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
        f"        self.layers = nn.ModuleList([Layer({arguments}) for _ in range(3)])\n\n"
        "    def forward(self, x):\n        for layer in self.layers:\n            x = layer(x)\n"
        "        return x\n\nEntryClass = Model\n",
    )

    def tensors(path: str) -> list[int]:
        found = tree.find(path)
        assert found is not None
        return [len(call.args) for call in found.calls]

    # Only the first norm of the whole stack has nothing to add.
    later = 1 if second == 1 else 2
    assert tensors("layers.0.first") == [first]
    assert tensors("layers.1.first") == tensors("layers.2.first") == [2]
    assert tensors("layers.0.second") == tensors("layers.2.second") == [later]
    expected = [] if post is None else [post]
    assert tensors("layers.0.post") == tensors("layers.2.post") == expected


def test_stage_boundaries_of_a_model_with_a_second_name(made: Any) -> None:
    tree = with_boundaries(
        made,
        "class Text(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.model = Inner()\n\n"
        "class Inner(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = nn.ModuleList([Layer('plain', False) for _ in range(3)])\n\n"
        "    def forward(self, x):\n        for layer in self.layers:\n            x = layer(x)\n"
        "        return x\n\n"
        "class Model(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
        "        self.text = Text()\n        self.short = self.text.model\n\n"
        "    def forward(self, x):\n        return self.short(x)\n\nEntryClass = Model\n",
    )
    norms = [m for m in tree.walk() if m.cls.endswith(".RMSNorm") and "post" not in m.path]
    assert len(norms) == 6
    assert all(len(m.calls) == 1 for m in norms)
