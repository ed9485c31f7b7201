"""A plugin of tests for one made-up op type, whose hooks can be replaced one by one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Extraction, Fact, Kernel, Use
from fibcore.model.tree import SourcePlace
from fibcore.ops.hookspecs import GroundTruth, OpType, hookimpl
from fibcore.ops.registry import Registry, load_plugins
from fibcore.testing.trees import module, tree

PLACE = SourcePlace("sglang/srt/models/example.py", 7)
TREE = tree(module("norm", "Norm", {"hidden_size": 8}), model="llama-example")
TEMPLATE = "def cases(d): ...\ndef make_inputs(d, c, v, g): ...\nPROPERTIES = []\n"
TRUTH = GroundTruth("torch", "torch", "entry", "def entry(x):\n    return x\n")


def kernel(op_type: str = "toy", size: int = 8, **changes: Any) -> Kernel:
    values: dict[str, Any] = {
        "op_type": op_type,
        "name": f"{op_type}_h{size}",
        "parameters": {"hidden_size": size},
        "facts": {"hidden_size": Fact(size, ("config:hidden_size",), PLACE)},
        "uses": (Use("norm", "Norm", PLACE),),
        "tags": ("tp:1",),
    }
    return Kernel(**{**values, **changes})


def definition(kernel: Kernel, **changes: Any) -> Definition:
    size = int(kernel.parameters["hidden_size"])
    values: dict[str, Any] = {
        "name": kernel.name,
        "op_type": kernel.op_type,
        "axes": {"batch": var(), "hidden_size": const(size)},
        "inputs": {"x": tensor("batch hidden_size", "bfloat16")},
        "outputs": {"y": tensor("batch hidden_size", "bfloat16")},
        "reference": "def run(x):\n    return x\n",
        "tags": kernel.tags,
    }
    return Definition(**{**values, **changes})


def plugin(op_type: str = "toy", **hooks: Callable[..., Any]) -> SimpleNamespace:
    """A plugin for one op type; `hooks` replace its hooks by name without `fibcore_`."""

    def op_types() -> tuple[OpType, ...]:
        return (OpType(op_type, f"the op {op_type}"),)

    def extract() -> Extraction:
        return Extraction((kernel(op_type),), frozenset({"norm"}))

    def reference(kernel: Kernel) -> Definition:
        return definition(kernel)

    given: dict[str, Callable[..., Any]] = {
        "op_types": op_types,
        "extract": extract,
        "reference": reference,
        **hooks,
    }
    return SimpleNamespace(**{f"fibcore_{n}": hookimpl(hook) for n, hook in given.items()})


def registry(**plugins: object) -> Registry:
    return load_plugins(extra=plugins, discover=False)
