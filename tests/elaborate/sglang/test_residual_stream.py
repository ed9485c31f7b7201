"""How the norms of stage boundaries are called, by the stream that a batch carries to them."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from forward_models import kinds, model

from fibcore.model.tree import ModelTree

STAGES = """
def append_stages(*stages):
    raise RuntimeError("needs a server")

class PlainAdd:
    is_plain_add = True
    applied_at_exit = False

class ReplaceAtExit:
    is_plain_add = False
    applied_at_exit = True

    def update(self, hidden_states, residual):
        return hidden_states

class PostNormAdd:
    is_plain_add = False

    def __init__(self, norm, applied_at_exit):
        self.norm, self.applied_at_exit = norm, applied_at_exit

    def update(self, hidden_states, residual):
        return residual + self.norm(hidden_states)

class NormReadout:
    bind = None

    def init_residual(self, hidden_states):
        return hidden_states

    def read(self, residual, norm, quant_format=""):
        if residual.shape[0] == 0:
            return residual, residual
        return norm(residual), residual

    def update_and_read(self, update, hidden_states, residual, norm, quant_format=""):
        if not update.is_plain_add:
            return self.read(update.update(hidden_states, residual), norm, quant_format)
        if hidden_states.shape[0] == 0:
            return hidden_states, residual
        return norm(hidden_states, residual)

class UnfusedNormReadout(NormReadout):
    def update_and_read(self, update, hidden_states, residual, norm, quant_format=""):
        return self.read(update.update(hidden_states, residual), norm, quant_format)

class PlainReadout(NormReadout):
    def read(self, residual, norm, quant_format=""):
        return residual, residual

class BankingReadout(NormReadout):
    def update_and_read(self, update, hidden_states, residual, norm, quant_format=""):
        return norm(hidden_states, residual), None

class BoundReadout:
    def bind(self, forward_batch, context):
        return NormReadout()

class Other:
    pass

class Transform:
    def __init__(self, apply):
        self.apply = apply

class Stage:
    def __init__(self, read, update, output_transform=None):
        self.read, self.update, self.output_transform = read, update, output_transform
"""
BATCH = "\n".join(
    f"def {name}(*args):\n    raise RuntimeError('needs a server')"
    for name in (
        "start", "fold", "take_output", "set_written", "final_norm", "read_output",
        "complete_output",
    )
)  # fmt: skip
LAYER = """
from sglang.srt.layers.layer_boundary.factories import *
from sglang.srt.layers.layer_boundary.residual import batch

class Layer(nn.Module):
    def __init__(self, attn="NormReadout", ffn="NormReadout", attn_update="plain",
                 ffn_update="plain", transformed=False):
        super().__init__()
        self.first, self.second = RMSNorm(8), RMSNorm(8)
        self.post_attn, self.post_ffn = RMSNorm(8), RMSNorm(8)
        self.a, self.b = append_stages(
            (Stage(globals_[attn](), self.update(attn_update, self.post_attn),
                   Transform(self.post_attn) if transformed else None), self.first),
            (Stage(globals_[ffn](), self.update(ffn_update, self.post_ffn)), self.second),
        )

    def update(self, name, norm):
        if name == "plain":
            return PlainAdd()
        if name == "replace":
            return ReplaceAtExit()
        return PostNormAdd(norm, name == "post at exit") if name != "other" else Other()

    def forward(self, x, fb):
        x = self.a.prepare(x, fb, quant_format="")
        x = self.a.finish(x, fb)
        x = self.b.prepare(x, fb)
        with self.b.exit(fb) as output:
            return output.finish(x)

globals_ = {
    "NormReadout": NormReadout, "UnfusedNormReadout": UnfusedNormReadout, "Other": Other,
    "PlainReadout": PlainReadout, "BankingReadout": BankingReadout, "BoundReadout": BoundReadout,
}
"""
START = "batch.start(fb)\nfor layer in self.layers:\n    x = layer(x, fb)\n"
FINAL = "return batch.final_norm(x, fb, self.norm)"


def tree_of(made: Any, layers: str, forward: str = START + FINAL) -> ModelTree:
    """The tree of a model with four layers."""
    made.write("srt/layers/layer_boundary/factories.py", STAGES)
    made.write("srt/layers/layer_boundary/residual/batch.py", BATCH)
    init = f"self.layers = nn.ModuleList([{layers} for i in range(4)])\nself.norm = RMSNorm(8)"
    tree: ModelTree = made.tree(
        model(init, textwrap.dedent(forward), LAYER, "x, fb"), version="0.5.23"
    )
    return tree


def by_layer(tree: ModelTree, name: str) -> list[list[str]]:
    return [kinds(tree, f"layers.{i}.{name}") for i in range(4)]


PLAIN, FUSED, NONE = ["plain"], ["fused"], list[str]()


@pytest.mark.parametrize(
    ("arguments", "first", "later", "second", "last"),
    [
        ("", PLAIN, FUSED, FUSED, FUSED),
        ("ffn='UnfusedNormReadout'", PLAIN, FUSED, PLAIN, FUSED),
        ("attn='UnfusedNormReadout'", PLAIN, PLAIN, FUSED, FUSED),
        ("attn='PlainReadout'", NONE, FUSED, FUSED, FUSED),
        ("attn_update='replace'", PLAIN, FUSED, PLAIN, FUSED),
        ("ffn_update='replace'", PLAIN, PLAIN, FUSED, PLAIN),
        ("attn_update='post'", PLAIN, FUSED, PLAIN, FUSED),
        ("ffn_update='post at exit'", PLAIN, PLAIN, FUSED, PLAIN),
        ("attn='BankingReadout'", PLAIN, FUSED, PLAIN, FUSED),
        ("attn='BoundReadout'", PLAIN, FUSED, FUSED, FUSED),
        ("transformed=True", PLAIN, FUSED, FUSED, FUSED),
    ],
)
def test_stages_of_a_stack(
    made: Any, arguments: str, first: Any, later: Any, second: Any, last: Any
) -> None:
    tree = tree_of(made, f"Layer({arguments})")
    assert by_layer(tree, "first") == [first, later, later, later]
    if "BankingReadout" in arguments:  # the first layer has banked nothing
        assert by_layer(tree, "second") == [FUSED, second, second, second]
    else:
        assert by_layer(tree, "second") == [second] * 4
    assert kinds(tree, "norm") == last
    posts = [PLAIN if "'post'" in arguments or "transformed" in arguments else NONE] * 4
    assert by_layer(tree, "post_attn") == posts
    assert by_layer(tree, "post_ffn") == [PLAIN if "post at exit" in arguments else NONE] * 4
    assert tree.missing == ()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [("attn='Other'", "first"), ("attn_update='other'", "second"), ("ffn_update='other'", "norm")],
)
def test_what_a_declaration_does_not_say_is_not_guessed(
    made: Any, arguments: str, names: str
) -> None:
    tree = tree_of(made, f"Layer({arguments})")
    found = kinds(tree, "norm") if names == "norm" else kinds(tree, f"layers.1.{names}")
    assert found == []
    node = tree.find("norm" if names == "norm" else f"layers.1.{names}")
    assert node is not None
    assert not node.idle


SUMS = """
from functools import partial
from sglang.srt.layers.layer_boundary.factories import *
from sglang.srt.layers.layer_boundary.residual import batch

class Sum:
    def __init__(self, run, can_defer=None):
        self.run, self.can_defer = run, can_defer

PENDING = []

def take():
    return PENDING.pop() if PENDING else None

def own_sum(x, forward_batch, *, shared):
    if shared:
        take()
    return x

class Layer(nn.Module):
    def __init__(self, can_defer=None):
        super().__init__()
        self.first = RMSNorm(8)
        stage = Stage(NormReadout(), PostNormAdd(RMSNorm(8), False))
        stage.sum_impl = Sum(partial(own_sum, shared=True), can_defer)
        (self.a,) = append_stages((stage, self.first))

    def forward(self, x, fb):
        x = self.a.prepare(x, fb)
        PENDING.append(x)
        return self.a.finish(x, fb)
"""


@pytest.mark.parametrize("arguments", ["", "lambda fb: False", "lambda fb: fb.unknown()"])
def test_a_sum_of_the_models_own_is_taken(made: Any, arguments: str) -> None:
    """What it does besides is seen: a pass that checks for what is left over comes to its end."""
    made.write("srt/layers/layer_boundary/factories.py", STAGES)
    made.write("srt/layers/layer_boundary/residual/batch.py", BATCH)
    init = (
        f"self.layers = nn.ModuleList([Layer({arguments}) for i in range(4)])\n"
        "self.norm = RMSNorm(8)"
    )
    forward = START + (
        "done = True\n"
        "if done and take() is not None:\n    raise RuntimeError('left over')\n"
        "return self.norm(x)"
    )
    tree = made.tree(model(init, forward, SUMS, "x, fb"), version="0.5.23", tp=2)
    assert tree.missing == ()
    assert kinds(tree, "norm") == ["plain"]
    for index in range(4):
        node = tree.find(f"layers.{index}")
        assert node is not None
        assert _kernels(tree, node.path) == ["sum_output"]


def _kernels(tree: ModelTree, path: str) -> list[str]:
    return [call.name for call in tree.kernel_calls if call.module == path]


def test_a_stream_that_starts_and_folds_in_each_layer(made: Any) -> None:
    tree = tree_of(
        made,
        "Layer()",
        """
        for layer in self.layers:
            batch.start(fb)
            x = layer(x, fb)
            x = batch.fold(x, fb)
            x = batch.take_output(x, fb)
        return self.norm(x)
        """,
    )
    assert by_layer(tree, "first") == [PLAIN] * 4
    assert by_layer(tree, "second") == [FUSED] * 4
    assert kinds(tree, "norm") == PLAIN


def test_a_stream_that_starts_anew_halfway(made: Any) -> None:
    tree = tree_of(
        made,
        "Layer()",
        """
        batch.start(fb)
        for i, layer in enumerate(self.layers):
            if i == 2:
                x = batch.complete_output(x, fb)
                x = batch.set_written(x, fb)
            x = layer(x, fb)
        return batch.final_norm(x, fb, self.norm)
        """,
    )
    assert by_layer(tree, "first") == [PLAIN, FUSED, PLAIN, FUSED]


def test_a_stream_that_an_undecided_branch_may_fold(made: Any) -> None:
    tree = tree_of(
        made,
        "Layer()",
        """
        batch.start(fb)
        x = self.layers[0](x, fb)
        if fb.forward_mode.is_idle():
            x = batch.fold(x, fb)
        x = self.layers[1](x, fb)
        return batch.final_norm(x, fb, self.norm)
        """,
    )
    assert sorted(kinds(tree, "layers.1.first")) == ["fused", "plain"]
    assert kinds(tree, "norm") == FUSED


def test_a_stack_that_nothing_started_is_not_guessed(made: Any) -> None:
    tree = tree_of(made, "Layer()", START.replace("batch.start(fb)\n", "") + FINAL)
    assert kinds(tree, "layers.0.first") == []
    assert kinds(tree, "norm") == []


@pytest.mark.parametrize(
    ("read", "expected"),
    [("NormReadout()", FUSED), ("UnfusedNormReadout()", PLAIN), ("Other()", NONE)],
)
def test_the_last_norm_of_a_stack_may_have_a_readout(made: Any, read: str, expected: Any) -> None:
    tree = tree_of(made, "Layer()", START + f"return batch.read_output(x, fb, {read}, self.norm)")
    assert kinds(tree, "norm") == expected


def test_stages_of_a_model_with_a_second_name(made: Any) -> None:
    before = LAYER + textwrap.dedent("""
        class Inner(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList([Layer() for _ in range(3)])

            def forward(self, x, fb):
                batch.start(fb)
                for layer in self.layers:
                    x = layer(x, fb)
                return batch.take_output(x, fb)

        class Text(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = Inner()
    """)
    made.write("srt/layers/layer_boundary/factories.py", STAGES)
    made.write("srt/layers/layer_boundary/residual/batch.py", BATCH)
    text = model(
        "self.text = Text()\nself.short = self.text.model",
        "return self.short(x, fb)",
        before,
        "x, fb",
    )
    tree = made.tree(text, version="0.5.23")
    norms = [m for m in tree.walk() if m.cls.endswith(".RMSNorm") and "post" not in m.path]
    assert len(norms) == 6
    assert all(len(m.calls) == 1 for m in norms)
