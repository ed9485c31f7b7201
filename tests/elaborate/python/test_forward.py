"""The forward pass: how it calls each module, and which operations use parameters."""

from __future__ import annotations

from typing import Any

import pytest
from forward_models import calls, kinds, model

from fibcore.model.tree import Alternatives, ModelTree, Operation, ParameterRef, Unknown

NORMS: dict[str, tuple[str, list[str]]] = {
    "plain": ("x = self.norm(x)", ["plain"]),
    "fused": ("x, r = self.norm(x, x)", ["fused"]),
    "fused by keyword": ("x, r = self.norm(x, residual=x)", ["fused"]),
    "no residual": ("x = self.norm(x, None)", ["plain"]),
    "by its forward method": ("x = self.norm.forward(x)", ["plain"]),
    "through keywords": ("k = {'residual': x}\nx = self.norm(x, **k)", ["fused"]),
    "through positional items": ("a = (x, x)\nx = self.norm(*a)", ["fused"]),
    "through a local name": ("norm = self.norm\nx = norm(x)", ["plain"]),
    "through a helper": ("x = helper(self.norm, x)", ["plain"]),
    "through an object": ("x = Helper(self.norm).prepare(x, x)", ["fused"]),
    "through getattr": ("x = getattr(self, 'norm')(x)", ["plain"]),
    "through a lambda": ("f = lambda v: self.norm(v)\nx = f(x)", ["plain"]),
    "through partial": ("import functools\nx = functools.partial(self.norm, x)(x)", ["fused"]),
    "in both sides of an undecided branch": (
        "if foreign.flag():\n    x = self.norm(x)\nelse:\n    x, r = self.norm(x, x)",
        ["plain", "fused"],
    ),
    "in one side of an undecided branch": (
        "if x.shape[0] > 3:\n    x = self.norm(x)",
        ["plain"],
    ),
    "after an undecided return": (
        "if foreign.flag():\n    return x\nx = self.norm(x)",
        ["plain"],
    ),
    "in a decided branch": (
        "if x is None:\n    x = self.norm(x)\nelse:\n    x, r = self.norm(x, x)",
        ["fused"],
    ),
    "the same call twice is one": ("for i in range(3):\n    x = self.norm(x)", ["plain"]),
    "a loop over something unknown": ("for i in x:\n    x = self.norm(i)", ["plain"]),
    "beside the parts of a tensor": (
        "parts = x.chunk(2, dim=-1)\nx = [norm(c) for norm, c in zip([self.norm], parts)]",
        ["plain"],
    ),
    "never": ("x = x + 1", []),
    "in another method": ("x = self.inner(x)", ["plain"]),
    "behind a statement that fails": ("y = None.shape\nx = self.norm(x)", ["plain"]),
    "behind tensor arithmetic": (
        "a, b = x.split([1, 2], dim=-1)\nx = self.norm((a * b).view(-1, 3)[..., :2].float())",
        ["plain"],
    ),
    "in a with statement": ("with torch.no_grad():\n    x = self.norm(x)", ["plain"]),
    "in a try statement": ("try:\n    x = self.norm(x)\nfinally:\n    pass", ["plain"]),
    "in a conditional expression": ("x = self.norm(x) if foreign.flag() else x", ["plain"]),
    "in a comprehension": ("x = [self.norm(i) for i in (x, x)]", ["plain"]),
    "in an assertion's condition": ("assert self.norm(x) is not None", ["plain"]),
}


@pytest.mark.parametrize("name", NORMS)
def test_calls_of_a_norm(made: Any, name: str) -> None:
    forward, expected = NORMS[name]
    before = """
def helper(norm, x):
    return norm(x)

class Helper:
    def __init__(self, norm):
        self.norm = norm
    def prepare(self, x, r):
        if r is None:
            return self.norm(x)
        return self.norm(x, r)

class Base(nn.Module):
    def inner(self, x):
        return self.norm(x)
    def not_called(self, x):
        return self.norm(x, x, x)
"""
    text = model("self.norm = RMSNorm(8)", forward, before).replace(
        "class Model(nn.Module)", "class Model(Base)"
    )
    tree = made.tree(text)
    assert kinds(tree, "norm") == expected
    assert tree.missing == ()


def test_the_first_layer_has_no_residual(made: Any) -> None:
    before = """
class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = RMSNorm(8)
        self.second = RMSNorm(8)

    def forward(self, x, residual):
        if residual is None:
            residual = x
            x = self.first(x)
        else:
            x, residual = self.first(x, residual)
        x, residual = self.second(x, residual)
        return x, residual
"""
    text = model(
        "self.layers = nn.ModuleList([Layer() for i in range(4)])\nself.norm = RMSNorm(8)",
        "r = None\nfor layer in self.layers:\n    x, r = layer(x, r)\nx, _ = self.norm(x, r)",
        before,
    )
    tree = made.tree(text)
    assert [kinds(tree, f"layers.{i}.first") for i in range(4)] == [
        ["plain"],
        ["fused"],
        ["fused"],
        ["fused"],
    ]
    assert all(kinds(tree, f"layers.{i}.second") == ["fused"] for i in range(4))
    assert kinds(tree, "norm") == ["fused"]


def test_a_part_of_the_layers_in_a_range(made: Any) -> None:
    text = model(
        "self.layers = nn.ModuleList([RMSNorm(8) for i in range(4)])\nself.start, self.end = 1, 3",
        "for i in range(self.start, self.end):\n    x = self.layers[i](x)",
    )
    tree = made.tree(text)
    assert [len(calls(tree, f"layers.{i}")) for i in range(4)] == [0, 1, 1, 0]


def test_what_a_call_hands_over(made: Any) -> None:
    text = model(
        "self.norm = RMSNorm(8)\nself.proj = ReplicatedLinear(8, 8)",
        "self.proj(x, None, 3, flag=True, size=x.shape[0], either=1 if foreign.flag() else 2)",
    )
    (call,) = calls(made.tree(text), "proj")
    assert call.method == "forward"
    tensor, none, three = call.args
    assert isinstance(tensor, Unknown)
    assert tensor.is_tensor
    assert (none, three) == (None, 3)
    assert call.kwargs["flag"] is True
    assert isinstance(call.kwargs["size"], Unknown)
    assert call.kwargs["either"] == Alternatives((1, 2))
    assert call.place.file == "sglang/srt/models/made.py"
    lines = text.splitlines()
    assert "self.proj(x" in lines[call.place.line - 1]
    assert call.argument(2) == 3
    assert call.argument(7, "flag") is True


def test_other_methods_of_a_module_are_named(made: Any) -> None:
    made.write(
        "srt/layers/logits.py",
        "from torch import nn\nclass Processor(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n    def compute(self, x):\n        return x\n",
    )
    text = model(
        "self.processor = Processor(4)",
        "return self.processor.compute(x)",
        "from sglang.srt.layers.logits import Processor\n",
    )
    (call,) = calls(made.tree(text), "processor")
    assert call.method == "compute"


def test_modules_handed_to_modules_are_references(made: Any) -> None:
    text = model(
        "self.norm = RMSNorm(8)\nself.proj = ReplicatedLinear(8, 8)", "self.proj(x, self.norm)"
    )
    (call,) = calls(made.tree(text), "proj")
    assert call.args[1].path == "norm"


def test_the_forward_batch_is_not_known(made: Any) -> None:
    text = model(
        "self.norm = RMSNorm(8)",
        "if forward_batch.forward_mode.is_decode():\n    return self.norm(x)\n"
        "return self.norm(x, x)",
        arguments="x, forward_batch",
    )
    assert kinds(made.tree(text), "norm") == ["plain", "fused"]


SETTINGS = """
import functools

@functools.lru_cache
def is_overlapped():
    return False

def has_kernel(x):
    return False
"""


@pytest.mark.parametrize(
    ("test", "expected"),
    [("is_overlapped()", ["plain"]), ("has_kernel(x)", ["fused", "plain"])],
)
def test_settings_of_kernel_packages_decide(made: Any, test: str, expected: list[str]) -> None:
    made.write("srt/layers/moe/utils.py", SETTINGS)
    text = model(
        "self.norm = RMSNorm(8)",
        f"if foreign.flag():\n    is_overlapped()\nif {test}:\n    return self.norm(x, x)\n"
        "return self.norm(x)",
        "from sglang.srt.layers.moe.utils import has_kernel, is_overlapped\n",
    )
    assert kinds(made.tree(text), "norm") == expected


def test_methods_of_what_the_server_sets_have_their_names(made: Any) -> None:
    text = model(
        "self.weight = nn.Parameter(torch.empty(8))",
        "forward_batch.pool.store(x, weight=self.weight)",
        arguments="x, forward_batch",
    )
    found = operation(made.tree(text))
    assert found.name == "store"
    assert found.kwargs["weight"].path == "weight"


def operation(tree: ModelTree) -> Operation:
    (found,) = tree.operations
    return found


@pytest.mark.parametrize(
    ("expression", "function", "shape"),
    [
        ("F.linear(x, self.weight)", "torch.nn.functional.linear", (16, 64)),
        ("F.linear(x, self.weight, None)", "torch.nn.functional.linear", (16, 64)),
        ("F.linear(x.float(), self.weight.float())", "torch.nn.functional.linear", (16, 64)),
        ("torch.matmul(x, self.weight.t())", "torch.matmul", (64, 16)),
        ("torch.mm(x, self.weight.T)", "torch.mm", (64, 16)),
        ("x @ self.weight.T", "torch.matmul", (64, 16)),
        ("torch.ops.sgl_kernel.gemm(x, self.weight)", "torch.ops.sgl_kernel.gemm", (16, 64)),
        ("sgl_kernel.router_gemm(x, self.weight, out=x)", "sgl_kernel.router_gemm", (16, 64)),
    ],
)
def test_operations_on_parameters(
    made: Any, expression: str, function: str, shape: tuple[int, ...]
) -> None:
    before = """
import sgl_kernel

class Gate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.empty((16, config.hidden_size), dtype=torch.float32))

    def forward(self, x):
        return EXPRESSION
""".replace("EXPRESSION", expression)
    tree = made.tree(model("self.gate = Gate(config)", "return self.gate(x)", before))
    found = operation(tree)
    assert found.function == function
    assert found.module == "gate"
    parameter = found.args[1]
    assert isinstance(parameter, ParameterRef)
    assert parameter.path == "gate.weight"
    assert parameter.shape == shape
    assert parameter.dtype == "float32"
    assert "EXPRESSION".lower() not in str(found.place)
    assert found.place.file == "sglang/srt/models/made.py"


def test_operations_in_each_repeated_layer(made: Any) -> None:
    before = """
class Gate(nn.Module):
    def __init__(self, i):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(16 + i, 8))

    def forward(self, x):
        return F.linear(x, self.weight)
"""
    text = model(
        "self.gates = nn.ModuleList([Gate(i) for i in range(3)])",
        "for gate in self.gates:\n    x = gate(x)",
        before,
    )
    tree = made.tree(text)
    assert [(o.module, o.args[1].path, o.args[1].shape) for o in tree.operations] == [
        (f"gates.{i}", f"gates.{i}.weight", (16 + i, 8)) for i in range(3)
    ]


def test_a_parameter_of_a_leaf_first_read_in_an_undecided_branch(made: Any) -> None:
    made.write(
        "srt/layers/scale.py",
        "import torch\nfrom torch import nn\nclass Scale(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.weight = nn.Parameter(torch.ones(n))\n",
    )
    text = model(
        "self.scale = Scale(6)",
        "if foreign.flag():\n    return torch.mul(x, self.scale.weight)\n"
        "return foreign.kernel(x, self.scale.weight)",
        "from sglang.srt.layers.scale import Scale\n",
    )
    found = {o.function: o.args[1] for o in made.tree(text).operations}
    weight = ParameterRef("scale.weight", (6,), None)
    assert found == {"torch.mul": weight, "foreign.kernel": weight}


def test_a_weight_that_is_multiplied_by_another_one(made: Any) -> None:
    text = model(
        "self.scale = nn.Parameter(torch.ones(6))\nself.row = nn.Parameter(torch.ones(1, 6))",
        "folded = self.scale.float() * self.row.squeeze().float()\nreturn folded * x",
    )
    (found,) = made.tree(text).operations
    assert found.function == "torch.mul"
    assert found.args == (ParameterRef("scale", (6,), None), ParameterRef("row", (6,), None))


def test_operations_of_a_module_that_is_not_called_are_none(made: Any) -> None:
    before = """
class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(16, 8))

    def forward(self, x):
        return F.linear(x, self.weight)
"""
    assert made.tree(model("self.gate = Gate()", "return x", before)).operations == ()


def test_operations_on_tensors_alone_are_none(made: Any) -> None:
    text = model("self.scale = 3", "return F.linear(x, x) @ torch.matmul(x, x)")
    assert made.tree(text).operations == ()


def test_an_explicit_error_of_the_forward_pass_is_reported(made: Any) -> None:
    text = model(
        "self.norm = RMSNorm(8)",
        "x = self.norm(x)\nraise NotImplementedError('no such mode')\nx, r = self.norm(x, x)",
    )
    tree = made.tree(text)
    (missing,) = tree.missing
    assert missing.path == "forward"
    assert "no such mode" in missing.reason
    assert missing.place is not None
    assert kinds(tree, "norm") == ["plain"]


def test_a_module_that_calls_itself_is_left(made: Any) -> None:
    text = model("self.norm = RMSNorm(8)", "x = self.norm(x)\nreturn self.forward(x)")
    assert kinds(made.tree(text), "norm") == ["plain"]


def test_forward_of_a_base_class_of_torch_gives_a_tensor(made: Any) -> None:
    tree = made.tree(
        "from torch import nn\nfrom sglang.srt.layers.layernorm import RMSNorm\n"
        "class Scaled(nn.Embedding):\n    def forward(self, x):\n"
        "        return super().forward(x) * 2.0\n"
        "class Model(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
        "        self.embed = Scaled(8, 8)\n        self.norm = RMSNorm(8)\n\n"
        "    def forward(self, x):\n        return self.norm(self.embed(x))\n\nEntryClass = Model\n"
    )
    norm = tree.find("norm")
    assert norm is not None
    (call,) = norm.calls
    assert isinstance(call.args[0], Unknown)
    assert call.args[0].is_tensor
