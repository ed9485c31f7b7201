"""Measures implementations on a workload; `fibcore/processes/child_side.py` runs this file.

A task is a definition, a workload and the implementations to try; its answer holds, for each, its
errors against a float64 evaluation and the part of the elements that misses each tolerance of a
grid. Needs torch, and safetensors where a workload has tensors.

The float64 evaluation is the reference itself with every floating-point dtype widened to float64,
on inputs that are widened likewise, and on the path that it takes on a CPU. An output of one byte
an element is rounded to its format once, at the end: such a format is what a quantisation computes.

Outputs that no tolerance compares as they are (indices, bytes of several numbers) are compared by
what they stand for, where the test template of the op type has `figures`. A reference that writes
bytes cannot be widened then: the last ground truth of kind "torch" stands in for it, by name.
"""

from __future__ import annotations

import ast
import functools
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

# Powers of two, so that half and twice a tolerance are its neighbours on the grid.
RTOLS = tuple(2.0**-e for e in range(12, 3, -1))
ATOLS = tuple(2.0**-e for e in range(24, -4, -1))
PLAIN = 1e-2  # what benchmarks use where nothing is said, for rtol and atol
EPSILON = 1e-8  # that flashinfer-bench adds to the divisor of a relative error

NARROW = frozenset({"float32", "float", "bfloat16", "float16", "half"})
CONVERSIONS = frozenset({"float", "half", "bfloat16"})

Run = Callable[..., Any]
Table = list[list[float]]


class NotMeasurable(Exception):
    """Why an implementation cannot be measured."""


def widened(source: str) -> str:
    """A reference that computes in float64 what it is given in float64, on the path of a CPU."""
    return ast.unparse(ast.fix_missing_locations(_Widening().visit(ast.parse(source))))


class _Widening(ast.NodeTransformer):
    """Rewrites every dtype and conversion of a reference."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "torch" and node.attr in NARROW:
            node.attr = "float64"
        elif node.attr == "is_cuda":
            node.attr = "is_meta"  # false here: the path that has no dtypes of tensor cores
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A conversion copies even where it changes nothing: what it gives is changed in place.

        Bits that are read as a narrow number are still that many; the number is widened then.
        """
        if isinstance(node.func, ast.Attribute) and node.func.attr == "view":
            (*_, last) = node.args or (node.func,)
            if isinstance(last, ast.Attribute) and last.attr in NARROW:
                node.func.value = self.visit(node.func.value)
                wide = ast.parse("x.to(torch.float64)", mode="eval").body
                assert isinstance(wide, ast.Call)
                assert isinstance(wide.func, ast.Attribute)
                wide.func.value = node
                return wide
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute):
            return node
        if node.func.attr in CONVERSIONS and not node.args and not node.keywords:
            node.func.attr = "to"
            node.args.append(ast.parse("torch.float64", mode="eval").body)
        if node.func.attr == "to" and all(k.arg != "copy" for k in node.keywords):
            node.keywords.append(ast.keyword("copy", ast.Constant(value=True)))
        return node


def load(source: str, label: str) -> ModuleType:
    """A module of its own that holds what `source` defines."""
    module = ModuleType(label)
    exec(compile(source, f"<{label}>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return module


def run_of(source: str) -> Run:
    """The function `run` of a reference, or of what is to be held beside it."""
    run: Run = load(source, "implementation").run
    return run


class Measurement:
    """One workload of a definition."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        import torch

        self.torch = torch
        self.task = task
        self.definition: dict[str, Any] = task["definition"]
        wanted = task["device"]
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        if wanted == "cuda" and not torch.cuda.is_available():
            raise NotMeasurable("--device cuda, but torch finds no CUDA GPU on this machine")
        self.device = torch.device(wanted)
        self.inputs = self._inputs()
        template = task.get("template")
        figures = load(template, "template").figures if template else None
        self.figures: Callable[..., Any] | None = figures
        self.read: set[str] = set()
        self.given: dict[str, Any] = {}
        self.yardstick = "float64"
        reference = run_of(self.definition["reference"])
        self.given = self._raw(reference)
        self.yardsticks = self._figured(self.given)
        self.exact = self._exact()
        self._refuse_draws(reference)

    def run(self) -> dict[str, Any]:
        """What is to be said of every implementation."""
        own = functools.partial(run_of, self.definition["reference"])
        found = [self._try("the reference", "reference", True, own)]
        for one in self.task["implementations"]:
            kind = "variant" if one["right"] else "wrong"
            make = functools.partial(run_of, one["source"])
            found.append(self._try(one["name"], kind, one["right"], make))
        found += [self._truth(truth) for truth in self.task["truths"]]
        found.append(self._try("zeros", "wrong", False, lambda: self._zeros))
        return {
            "implementations": found,
            "machine": self._machine(),
            "figures": sorted(self.read),
            "yardstick": self.yardstick,
        }

    def _zeros(self, *_: Any) -> tuple[Any, ...]:
        return tuple(self.torch.zeros_like(t) for t in self.given.values())

    def _truth(self, truth: Mapping[str, Any]) -> dict[str, Any]:
        """A ground truth, or why it is left out."""
        from fibcore.verification.emitted import ground_truths  # imports torch

        sglang = self.task["sglang"]
        reason = ground_truths.why_unavailable(truth, self.device, sglang)
        if reason:
            return {"name": truth["name"], "kind": truth["kind"], "left_out": reason}
        who: dict[str, Any] = {}
        found = self._try(truth["name"], truth["kind"], True, lambda: self._run_of(truth, who))
        return {**found, **({"version": who["version"]} if who else {})}

    def _run_of(self, truth: Mapping[str, Any], who: dict[str, Any]) -> Run:
        """A ground truth as a function of the inputs in order; `who` is told whose it is."""
        from fibcore.verification.emitted import ground_truths  # imports torch

        sglang, module = self.task["sglang"], load(truth["source"], "ground_truth")

        def run(*inputs: Any) -> Any:
            named = dict(zip(self.definition["inputs"], inputs, strict=True))
            result, about = ground_truths.run_ground_truth(module, truth, named, sglang)
            who.update(about)
            return result

        return run

    def _try(self, name: str, kind: str, right: bool, make: Callable[[], Run]) -> dict[str, Any]:
        about: dict[str, Any] = {"name": name, "kind": kind, "right": right}
        start = time.monotonic()
        try:
            outputs = self._outputs(make())
        except Exception as error:  # noqa: BLE001  (the certificate says so)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if right:
                return {**about, "left_out": reason}
            # A wrong implementation that cannot run is rejected by every benchmark.
            return {**about, "raised": reason, "errors": {}, "plain": 1.0, "missed": None}
        about["errors"] = {n: self._error(t, self.exact[n]) for n, t in outputs.items()}
        tables = [self._missed(t, n, right=right) for n, t in outputs.items()]
        about["plain"] = max(plain for _, plain in tables)
        about["missed"] = [
            [max(cells) for cells in zip(*rows, strict=True)]
            for rows in zip(*(table for table, _ in tables), strict=True)
        ]
        about["seconds"] = round(time.monotonic() - start, 3)
        return about

    def _inputs(self) -> list[Any]:
        """The inputs in order; what the benchmark draws is drawn as flashinfer-bench does."""
        torch, workload = self.torch, self.task["workload"]
        generator = torch.Generator(self.device).manual_seed(self.task["seed"])
        const = {n: a["value"] for n, a in self.definition["axes"].items() if "value" in a}
        sizes = {**const, **workload["axes"]}
        made = []
        for name, spec in self.definition["inputs"].items():
            given = workload["inputs"].get(name, {"type": "random"})
            if given["type"] == "scalar":
                made.append(given["value"])
            elif given["type"] == "safetensors":
                made.append(self._tensor(given))
            elif spec["shape"] is None:
                made.append(float(torch.randn((), generator=generator, device=self.device)))
            else:
                shape = [sizes[axis] for axis in spec["shape"]]
                made.append(self._random(shape, getattr(torch, spec["dtype"]), generator))
        return made

    def _tensor(self, given: Mapping[str, str]) -> Any:
        from safetensors import safe_open

        with safe_open(Path(self.task["root"]) / given["path"], framework="pt") as tensors:
            return tensors.get_tensor(given["tensor_key"]).to(self.device)

    def _random(self, shape: Sequence[int], dtype: Any, generator: Any) -> Any:
        torch = self.torch
        if dtype == torch.int8:  # values, as numbers of fewer bits are, and no offsets
            return torch.randint(
                -128, 128, shape, generator=generator, device=self.device, dtype=dtype
            )
        if not dtype.is_floating_point:
            raise NotMeasurable("random integers are no valid inputs")
        drawn = torch.randn(shape, generator=generator, device=self.device)
        return (drawn.clamp_(-2.0, 2.0) if dtype.itemsize == 1 else drawn).to(dtype)

    def _exact(self) -> dict[str, Any]:
        """The outputs in float64, or what stands in for them where they are bytes."""
        try:
            return self._figured(self._widened())
        except NotMeasurable:
            raise
        except Exception as error:
            if not self.read:
                raise
            truths = [truth for truth in self.task["truths"] if truth["kind"] == "torch"]
            if not truths:
                raise NotMeasurable(
                    f"the reference has no evaluation in float64 ({type(error).__name__}: {error}),"
                    " and no ground truth of kind torch stands in for it"
                ) from error
            self.yardstick = str(truths[-1]["name"])
            return self._outputs(self._run_of(truths[-1], {}))

    def _widened(self) -> dict[str, Any]:
        wide = [
            x.to(self.torch.float64)
            if isinstance(x, self.torch.Tensor) and x.dtype.is_floating_point
            else x
            for x in self.inputs
        ]
        run = run_of(widened(self.definition["reference"]))
        before = self._versions(wide)
        outputs = self._named(run(*wide))
        for name, was, now in zip(
            self.definition["inputs"], before, self._versions(wide), strict=True
        ):
            if was != now:  # then it may have computed from what it had changed already
                raise NotMeasurable(f"the evaluation in float64 changes its input {name}")
        for name, value in outputs.items():
            wide = value.dtype == self.torch.float64 or value.dtype.itemsize == 1
            if value.dtype.is_floating_point and not wide:
                raise NotMeasurable(f"the reference gives {name} in {value.dtype}, not in float64")
        return outputs

    def _figured(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs, or what they stand for where the template says it."""
        if self.figures is None:
            return outputs
        inputs = dict(zip(self.definition["inputs"], self.inputs, strict=True))
        found = {}
        for name, value in outputs.items():
            read = self.figures(self.definition, name, value, inputs)
            if read is not None:
                self.read.add(name)
            found[name] = value if read is None else read
        return found

    def _refuse_draws(self, run: Run) -> None:
        """Refuse a definition whose output is drawn: a right kernel may draw another."""
        again = self._outputs(run)
        for name, value in self.yardsticks.items():
            whole = not value.dtype.is_floating_point
            if whole and not self.torch.equal(value, again[name]):
                raise NotMeasurable(
                    f"two runs of the reference give other {name}: they are drawn, and no tolerance"
                    " tells right draws from wrong ones; benchmarks compare their distribution"
                )

    def _versions(self, inputs: Sequence[Any]) -> list[int | None]:
        """How often each tensor was changed in place, by itself or through a view of it."""
        return [x._version if isinstance(x, self.torch.Tensor) else None for x in inputs]

    def _outputs(self, run: Run) -> dict[str, Any]:
        """Outputs, or what they stand for; those that are not given are left out."""
        return self._figured(self._raw(run))

    def _raw(self, run: Run) -> dict[str, Any]:
        """Outputs in the definition's dtypes."""
        copies = [x.clone() if isinstance(x, self.torch.Tensor) else x for x in self.inputs]
        with self.torch.no_grad():
            outputs = self._named(run(*copies))
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)
        specs = self.definition["outputs"]
        return {n: t.to(getattr(self.torch, specs[n]["dtype"])) for n, t in outputs.items()}

    def _named(self, result: Any) -> dict[str, Any]:
        values = result if isinstance(result, (tuple, list)) else (result,)
        named = dict(zip(self.definition["outputs"], values, strict=True))
        found = {name: value for name, value in named.items() if value is not None}
        for name, value in found.items():
            given = self.given.get(name)
            if given is not None and value.shape != given.shape:
                raise NotMeasurable(f"{name} has the shape {list(value.shape)}")
        return found

    def _error(self, value: Any, exact: Any) -> dict[str, float | None]:
        """How far an output is from float64: the largest difference, and root mean squares."""
        difference = (value.double() - exact.double()).abs()
        if not bool(self.torch.isfinite(difference).all()):
            return {"max": None, "rms": None, "relative": None}
        if not difference.numel():
            return {"max": 0.0, "rms": 0.0, "relative": 0.0}
        rms = float(difference.square().mean().sqrt())
        size = float(exact.double().square().mean().sqrt())
        return {"max": float(difference.max()), "rms": rms, "relative": rms / size if size else rms}

    def _missed(self, value: Any, name: str, *, right: bool) -> tuple[Table, float]:
        """Which part of an output misses each tolerance, and the plain one.

        By the reference, which is what benchmarks compare with, and by float64: a right
        implementation counts as the worse of both, a wrong one as the better.
        """
        pick = max if right else min
        yardsticks = (self.yardsticks[name], self.exact[name])
        (one, plain), (other, plain_other) = (self._against(value, y) for y in yardsticks)
        table = [
            [pick(cells) for cells in zip(*rows, strict=True)]
            for rows in zip(one, other, strict=True)
        ]
        return table, pick(plain, plain_other)

    def _against(self, value: Any, expected: Any) -> tuple[Table, float]:
        """The same for one yardstick; an element misses a tolerance where it misses both parts."""
        torch = self.torch
        x, y = value.to(torch.float32), expected.to(torch.float32)
        if not bool(torch.isfinite(x).all()):
            return [[1.0] * len(ATOLS) for _ in RTOLS], 1.0
        absolute = (x - y).abs().flatten()
        relative = absolute / (y.abs().flatten() + EPSILON)
        count = max(1, absolute.numel())
        plain = float(((absolute > PLAIN) & (relative > PLAIN)).sum()) / count
        # How many tolerances an element misses: it misses the smallest ones.
        rtols, atols = (torch.tensor(t, device=x.device) for t in (RTOLS, ATOLS))
        r, a = torch.searchsorted(rtols, relative), torch.searchsorted(atols, absolute)
        width = len(ATOLS) + 1
        counts = torch.bincount(r * width + a, minlength=(len(RTOLS) + 1) * width)
        counts = counts.view(len(RTOLS) + 1, width).double()
        beyond = counts.flip(0, 1).cumsum(0).cumsum(1).flip(0, 1)[1:, 1:] / count
        return beyond.tolist(), plain

    def _machine(self) -> dict[str, str]:
        torch = self.torch
        name = "CPU"
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        return {"device": name, "torch": str(torch.__version__)}


def main(channel: Any) -> int:
    """Answer tasks until there are no more; the exit status."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        channel.send("fault", reason=f"torch cannot be imported: {error}")
        return 1
    channel.send("ready")
    for task in channel:
        try:
            answer = Measurement(task).run()
        except Exception as error:  # noqa: BLE001  (a workload that cannot be measured is reported)
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            answer = {"failed": str(error) if isinstance(error, NotMeasurable) else text}
        gc.collect()
        channel.send("end", **answer)
    return 0
