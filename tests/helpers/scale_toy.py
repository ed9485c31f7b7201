"""A small op type for the tests of generated tests: `scale`, y = x * FACTOR, one flag output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from fibcore.model.definition import Definition, const, tensor, var
from fibcore.ops.hookspecs import GroundTruth, OpType, TestTemplate, hookimpl
from fibcore.ops.registry import Registry, load_plugins

REFERENCE = '''import torch

FACTOR = {factor}


def run(x):
    """y = FACTOR * x, and whether y is negative."""
    assert x.shape[1] == 4
    y = {body}
    return y, y < 0
'''

TEMPLATE = '''"""Sizes and inputs of the toy op.

Rows of four elements.
"""

from __future__ import annotations

import math

import torch

ROWS = (1, 3)


def cases(definition):
    """One row and three."""
    return [{"id": f"rows_{n}", "n": n} for n in ROWS]


def make_inputs(definition, case, device, generator):
    """Normal numbers."""
    x = torch.randn(case["n"], 4, generator=generator)
    return {"x": x.to(device)}


def zero_stays_zero(run, definition, case, device, generator):
    """Scaling does not move zero."""
    y, _ = run(torch.zeros(case["n"], 4, device=device))
    assert not y.any()


def not_in_the_dark(run, definition, case, device, generator):
    """The tests run where fibcore cannot be imported, where that was asked for."""
    import importlib
    import os

    if "TOY_ISOLATED" not in os.environ:
        return
    try:
        importlib.import_module("fib" + "core")
    except ImportError:
        return
    raise AssertionError("importable")


PROPERTIES = [zero_stays_zero, not_in_the_dark]
'''

GPU = '''from __future__ import annotations

import torch


def gpu_scale(x):
    """Needs a package that does not exist."""
    import no_such_package

    return no_such_package.scale(x), None
'''

SGLANG = '''import math

import torch


def sglang_scale(load_sglang, x):
    """SGLang's own Scale, with a stand-in for self."""
    from types import SimpleNamespace

    forward = load_sglang("srt/layers/scale.py", "Scale.forward_native")
    return forward(SimpleNamespace(factor=2.0), x), None
'''

TORCH = '''import torch


def torch_scale(x):
    """Twice x, in double precision."""
    y = x.double() * 2.0
    return y, y < 0
'''

SGLANG_FILE = """from sglang.srt.nowhere import something, cuda_only

raise RuntimeError("SGLang must not be imported")


class Scale(something.Base):
    @cuda_only
    def forward_native(self, x: NotDefined, extra: Optional[NotDefined] = None) -> NotDefined:
        scaled: NotDefined = x * self.factor
        return scaled
"""

FLASHINFER_TRUTH = GroundTruth(
    "flashinfer.scale", "flashinfer", "gpu_scale", GPU, device="cuda", packages=("no_such_package",)
)
SGLANG_TRUTH = GroundTruth("sglang Scale.forward_native", "sglang", "sglang_scale", SGLANG)
TORCH_TRUTH = GroundTruth("torch in float64", "torch", "torch_scale", TORCH)


def definition(
    name: str = "scale_k4", *, body: str = "x * FACTOR", factor: float = 2.0, **changes: Any
) -> Definition:
    """A definition of the toy op; `body` is the expression that its reference computes."""
    fields: dict[str, Any] = {
        "name": name,
        "op_type": "scale",
        "description": "A toy.",
        "tags": ("status:unverified", "model:toy"),
        "axes": {"n": var(), "k": const(4)},
        "inputs": {"x": tensor("n k", "float32")},
        "outputs": {"y": tensor("n k", "float32"), "negative": tensor("n k", "bool")},
        "reference": REFERENCE.format(body=body, factor=factor),
    }
    return Definition(**{**fields, **changes})


class ToyPlugin:
    """Gives what it is told to give.

    Args:
        truths: Ground truths of every definition, or a dict by name.
        template: The test template's source; None for none.
        op_type: Name of the op type.
    """

    def __init__(
        self,
        truths: Any = (FLASHINFER_TRUTH, SGLANG_TRUTH),
        template: str | None = TEMPLATE,
        op_type: str = "scale",
    ) -> None:
        self.truths = truths
        self.template = template
        self.op_type = op_type

    @hookimpl
    def fibcore_op_types(self) -> list[OpType]:
        return [OpType(self.op_type, "A toy.")]

    @hookimpl
    def fibcore_ground_truths(self, definition: Definition) -> Any:
        if definition.op_type != self.op_type:
            return None
        truths = self.truths
        found = truths.get(definition.name, ()) if isinstance(truths, dict) else truths
        if isinstance(found, Exception):
            raise found
        return found

    @hookimpl
    def fibcore_test_template(self, op_type: str) -> TestTemplate | None:
        if op_type != self.op_type or self.template is None:
            return None
        return TestTemplate(op_type, self.template)


def registry(*plugins: ToyPlugin) -> Registry:
    """A registry of these plugins alone."""
    chosen = plugins or (ToyPlugin(),)
    return load_plugins(extra={p.op_type: p for p in chosen}, discover=False)


def write(dataset: Path, *definitions: Definition) -> None:
    """Put definitions into a dataset folder."""
    for d in definitions:
        path = dataset / "definitions" / d.op_type / f"{d.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(d.to_json(), encoding="utf-8")


def write_sglang(folder: Path, text: str = SGLANG_FILE, version: str = "0.9.9") -> Path:
    """A made-up SGLang repository in `folder` that has the toy's layer."""
    package = folder / "python" / "sglang"
    (package / "srt" / "layers").mkdir(parents=True, exist_ok=True)
    (package / "srt" / "layers" / "scale.py").write_text("\ufeff" + text, encoding="utf-8")
    (package / "_version.py").write_text(f'__version__ = version = "{version}"\n')
    return folder


def isolated_environment(folder: Path) -> dict[str, str]:
    """Environment of a process in which neither fibcore nor its plugins can be imported."""
    blocker = folder / "blocker"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import sys

            class Blocker:
                def find_spec(self, name, path=None, target=None):
                    if name.partition(".")[0].startswith("fibcore"):
                        raise ImportError(f"{name} is blocked")

            sys.meta_path.insert(0, Blocker())
            """
        )
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "FIBCORE"))}
    return {
        **kept,
        "PYTHONPATH": str(blocker),
        "TOY_ISOLATED": "yes",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "400",
    }


class Result:
    """How a pytest run ended: exit status, output, outcome by test id (without the file)."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.output = process.stdout + process.stderr
        self.outcomes: dict[str, str] = {}
        self.words: dict[str, str] = {}
        for line in process.stdout.splitlines():
            test, separator, rest = line.partition(" ")
            if "::" in test and separator and rest.split()[:1]:
                name = test.partition("::")[2]
                self.outcomes[name] = rest.split()[0]
                self.words[name] = rest.rpartition(" [")[0] or rest


def run_pytest(dataset: Path, *arguments: str, above: bool = False, **environment: str) -> Result:
    """Run a dataset's reference tests where fibcore cannot be imported.

    Args:
        dataset: The dataset; pytest is called in its folder.
        *arguments: More arguments of pytest.
        above: Whether pytest is given the dataset's folder instead of the tests' own.
        **environment: Environment variables.
    """
    command = [sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider"]
    # An empty ini file: what encloses the folder has nothing to say.
    tests = dataset / "tests" / "references"
    ini = dataset.parent / "empty.ini"
    ini.write_text("[pytest]\n")
    process = subprocess.run(  # noqa: S603  (our own command)
        [*command, "-c", str(ini), str(dataset if above else tests), *arguments],
        capture_output=True,
        text=True,
        cwd=dataset,
        env={**isolated_environment(dataset.parent), **environment},
        timeout=300,
        check=False,
    )
    return Result(process)


def evidence(folder: Path, name: str = "scale_k4") -> dict[str, Any]:
    """The evidence of a definition in a folder."""
    data: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return data
