"""What can be said of references without running them."""

from __future__ import annotations

import time

import pytest

from fibcore.model.definition import Definition, const, tensor, var
from fibcore.references.reading import foreign_imports, unasserted_axes


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn.functional as F\nimport math, numpy\nfrom typing import Any", []),
        ("from __future__ import annotations", []),
        ("import os, torch", [(1, "import os")]),
        ("def f():\n    from torchvision import x", [(2, "from torchvision")]),
        ("from . import x\nfrom .. import y", [(1, "from ."), (2, "from ..")]),
        ("eval('1')\nmodel.eval()", [(1, "eval(...)")]),
        ("__import__('os')", [(1, "__import__(...)")]),
        ("importlib.import_module('os')", [(1, "import_module(...)")]),
    ],
)
def test_foreign_imports(source: str, found: list[tuple[int, str]]) -> None:
    assert [(f.line, f.what) for f in foreign_imports(source)] == found


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("assert x.shape[1] == 6", []),
        ("assert x.shape == (indptr.shape[0] - 1, SIZE)", []),
        ("assert x.shape[1] == HALF * 2", []),
        ("size = 6\n    assert x.shape[1] == size", []),
        ("if x.shape[1] != SIZE:\n        raise ValueError", []),
        ("if x.shape[1] != SIZE:\n        pass", ["size"]),
        ("assert x.shape[1] == 7", ["size"]),
        ("pass", ["size"]),
    ],
)
def test_sizes_that_no_assertion_names(body: str, missing: list[str]) -> None:
    reference = f"SIZE = 6\nHALF = SIZE // 2\n\n\ndef run(x, indptr):\n    {body}\n"
    definition = Definition(
        name="scaled_h6",
        op_type="scaled",
        axes={"n": var(), "len": var(), "size": const(6)},
        inputs={"x": tensor("n size", "bfloat16"), "indptr": tensor("len", "int32")},
        outputs={"y": tensor("n size", "bfloat16")},
        reference=reference,
    )
    assert unasserted_axes(definition) == missing


@pytest.mark.parametrize(
    "lines",
    [
        ["n = 10", *["n = n * n"] * 60],
        [f"n = {k}" for k in range(2000)] + ["m = n * n", "m = m * m"],
        ["n = " + "9" * 4000, "n = n * n"],
    ],
    ids=["growing", "many", "long"],
)
def test_constants_that_multiply_end_at_once(lines: list[str]) -> None:
    began = time.process_time()
    definition = Definition(
        name="pick_w4",
        op_type="pick",
        axes={"rows": var(), "size": const(6)},
        inputs={"x": tensor("rows size", "bfloat16")},
        outputs={"out": tensor("rows size", "bfloat16")},
        reference="\n".join(lines) + "\ndef run(x):\n    assert x.shape[1] == n\n    return x\n",
    )
    unasserted_axes(definition)
    assert time.process_time() - began < 5
