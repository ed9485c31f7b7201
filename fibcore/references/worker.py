"""Runs references in a process of its own; `fibcore/processes/child_side.py` runs this file.

Needs torch alone. A task is a definition with the test template of its op type, and its answer the
problems that were found and the cases that ran. A reference runs in a fresh namespace that can
import torch, math and numpy; fibcore cannot be imported in this process at all.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

CONSTRAINT_BUILTINS = ("abs", "all", "any", "int", "len", "max", "min", "range", "sum")


class Wrong(Exception):
    """A check failed; the job goes on with the next one."""

    def __init__(self, message: str, expected: str | None = None, found: str | None = None) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class _NoFibcore:
    """A finder that lets nobody import fibcore."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "fibcore":
            raise ModuleNotFoundError("emitted code must not import fibcore", name=name)


def load(source: str, label: str, allowed: frozenset[str]) -> dict[str, Any]:
    """The namespace of a source text after it ran, in which imports are limited to `allowed`."""

    def guarded(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # the name that Python uses
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if level or name.partition(".")[0] not in allowed:
            raise ImportError(f"{label} may not import {name}")
        return builtins.__import__(name, globals, locals, fromlist, level)

    namespace: dict[str, Any] = {
        "__name__": label,
        "__builtins__": {**vars(builtins), "__import__": guarded},
    }
    exec(compile(source, f"<{label}>", "exec", dont_inherit=True), namespace)  # noqa: S102
    return namespace


class Job:
    """One definition's checks."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        import torch

        self.torch = torch
        self.definition: dict[str, Any] = request["definition"]
        self.request = request
        self.problems: list[dict[str, Any]] = []
        self.done: list[str] = []

    @contextlib.contextmanager
    def check(self, what: str, case: str | None = None) -> Iterator[None]:
        """Record whatever goes wrong inside as a problem of the check `what`."""
        problem: dict[str, Any] = {"check": what, "case": case}
        try:
            yield
        except Wrong as wrong:
            problem.update(message=str(wrong), expected=wrong.expected, found=wrong.found)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # recorded as a problem
            problem.update(message="it raised an exception", expected=None, found=in_a_line(error))
        else:
            return
        self.problems.append(problem)

    def run(self) -> dict[str, Any]:
        """Do all checks; the reply."""
        run: Callable[..., Any] | None = None
        template: dict[str, Any] = {}
        imports = frozenset(self.request["imports"])
        with self.check("reference"):
            run = load(self.definition["reference"], "reference", imports)["run"]
        with self.check("template"):
            imports |= sys.stdlib_module_names
            template = load(self.request["template"], "test_template", imports)
            cases = self._cases(template)
        if run is not None and not self.problems:
            for case in cases:
                self._case(run, template, case)
        return {"problems": self.problems, "cases": self.done}

    def _cases(self, template: dict[str, Any]) -> list[dict[str, Any]]:
        """The smallest cases, by the sum of the numbers in them."""
        for name in ("cases", "make_inputs"):
            if not callable(template.get(name)):
                raise Wrong(f"the template defines no function {name}")
        properties = template.get("PROPERTIES")
        if not isinstance(properties, (list, tuple)) or not all(map(callable, properties)):
            raise Wrong("the template defines no list PROPERTIES of functions")
        cases = template["cases"](self.definition)
        if not isinstance(cases, list) or not all(isinstance(c, dict) for c in cases):
            raise Wrong("cases(definition) returns no list of dicts", found=repr(cases)[:200])
        ids = [case.get("id") for case in cases]
        if not all(isinstance(i, str) and i for i in ids) or len(set(ids)) != len(ids):
            raise Wrong("every case needs an id of its own", found=repr(ids)[:200])
        if json.loads(json.dumps(cases)) != cases:
            raise Wrong("a case holds what JSON cannot keep", found=repr(cases)[:200])
        if not cases and self.request["need_cases"]:
            raise Wrong("the template has no case for this definition")
        return sorted(cases, key=_size)[: self.request["max_cases"]]

    def _case(
        self, run: Callable[..., Any], template: dict[str, Any], case: dict[str, Any]
    ) -> None:
        torch, name = self.torch, case["id"]
        device = torch.device("cpu")

        def generator() -> Any:
            return torch.Generator().manual_seed(self.request["seed"])

        inputs: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        with self.check("inputs", name):
            inputs = template["make_inputs"](self.definition, case, device, generator())
            self._check_inputs(inputs, sizes)
            constraints = self._constraints()
            for constraint in constraints[0]:
                self._check_constraint(constraint, inputs, sizes)
            if self.request["deep"]:
                again = template["make_inputs"](self.definition, case, device, generator())
                for key, value in inputs.items():
                    if not self._same(value, again[key]):
                        raise Wrong(f"the same seed gives another {key}")
        if any(p["check"] == "inputs" and p["case"] == name for p in self.problems):
            return
        copies = {k: self._copy(v) for k, v in inputs.items()} if self.request["deep"] else {}
        with self.check("outputs", name):
            bound = self._check_outputs(run(*inputs.values()), sizes)
            for constraint in constraints[1]:
                self._check_constraint(constraint, inputs, bound)
        self.done.append(name)
        if not self.request["deep"]:
            return
        with self.check("inputs kept", name):
            for key, value in copies.items():
                if not self._same(value, inputs[key]):
                    raise Wrong(f"the reference changes its input {key}")
        for axis, spec in self.definition["axes"].items():
            if spec["type"] == "const":
                with self.check("wrong shapes", name):
                    self._check_wrong_shape(run, inputs, axis)
        for prove in template["PROPERTIES"]:
            with self.check(f"property {getattr(prove, '__name__', prove)}", name):
                prove(run, self.definition, case, device, generator())

    def _check_inputs(self, inputs: Any, sizes: dict[str, int]) -> None:
        specs = self.definition["inputs"]
        if not isinstance(inputs, dict) or list(inputs) != list(specs):
            found = list(inputs) if isinstance(inputs, dict) else type(inputs).__name__
            raise Wrong(
                "make_inputs has to return the inputs, in order", str(list(specs)), str(found)
            )
        for name, spec in specs.items():
            self._check_value(name, spec, inputs[name], sizes)

    def _constraints(self) -> tuple[list[str], list[str]]:
        """The constraints on inputs, and those on an axis that outputs alone have."""
        d = self.definition
        given = {axis for spec in d["inputs"].values() for axis in spec["shape"] or ()}
        late = {n for n, a in d["axes"].items() if "value" not in a} - given
        found: tuple[list[str], list[str]] = ([], [])
        for text in d.get("constraints", ()):
            nodes = ast.walk(ast.parse(text.strip(), mode="eval"))
            names = {node.id for node in nodes if isinstance(node, ast.Name)}
            found[not names.isdisjoint(late)].append(text)
        return found

    def _check_outputs(self, result: Any, sizes: dict[str, int]) -> dict[str, int]:
        """Hold outputs against their specs: the sizes of all axes."""
        specs = self.definition["outputs"]
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(outputs) != len(specs):
            raise Wrong(
                "run returns another number of outputs", str(list(specs)), str(len(outputs))
            )
        bound = dict(sizes)
        for (name, spec), value in zip(specs.items(), outputs, strict=True):
            self._check_value(name, spec, value, bound)
        return bound

    def _check_value(self, name: str, spec: Any, value: Any, sizes: dict[str, int]) -> None:
        """Hold a tensor against its spec; sizes of axes that are met first are added to `sizes`."""
        torch, dtype, shape = self.torch, spec["dtype"], spec["shape"]
        if shape is None and isinstance(value, (bool, int, float)):
            return
        if not isinstance(value, torch.Tensor):
            raise Wrong(f"{name} is no tensor", dtype, type(value).__name__)
        packed = dtype == "float4_e2m1"  # two elements a byte
        known = {getattr(torch, "float4_e2m1fn_x2" if packed else dtype, None)}
        if value.dtype not in (known | {torch.uint8} if packed else known):
            raise Wrong(f"{name} has another dtype", dtype, str(value.dtype))
        have = list(value.shape)
        if packed and have:
            have[-1] *= 2
        want: list[Any] = []
        for axis, size in zip(shape or (), [*have, *[None] * len(shape or ())], strict=False):
            fixed = self.definition["axes"][axis].get("value")
            if fixed is None and axis not in sizes and size is not None:
                sizes[axis] = size
            want.append(sizes.get(axis, axis) if fixed is None else fixed)
        if have != want:
            axes = ", ".join(shape or ())
            raise Wrong(f"{name} has another shape", f"[{axes}] = {want}", str(have))

    def _check_constraint(self, text: str, inputs: dict[str, Any], sizes: dict[str, int]) -> None:
        fixed = {n: a["value"] for n, a in self.definition["axes"].items() if "value" in a}
        names = {**sizes, **fixed, **inputs}
        allowed = {name: getattr(builtins, name) for name in CONSTRAINT_BUILTINS}
        tree = ast.parse(text.strip(), mode="eval")
        value = eval(  # noqa: S307  # an expression of the definition, which the user wants run
            compile(tree, "<constraint>", "eval"), {"__builtins__": allowed, **names}
        )
        if not bool(value):
            raise Wrong("the inputs break a constraint", text)

    def _check_wrong_shape(
        self, run: Callable[..., Any], inputs: dict[str, Any], axis: str
    ) -> None:
        """Every input one larger along `axis`: only an assertion can tell."""
        larger = {}
        for name, spec in self.definition["inputs"].items():
            value = inputs[name]
            for place, have in enumerate(spec["shape"] or ()):
                if have == axis and isinstance(value, self.torch.Tensor):
                    value = self._grown(value, place)
            larger[name] = value
        if all(larger[name] is inputs[name] for name in inputs):
            return  # no input has the axis
        try:
            run(*larger.values())
        except Exception:  # noqa: BLE001  # any refusal is one
            return
        size = self.definition["axes"][axis]["value"]
        raise Wrong(
            f"the reference accepts inputs whose axis {axis} has another size",
            f"an exception for {axis} = {size + 1}",
            "a result",
        )

    def _grown(self, value: Any, place: int) -> Any:
        shape = list(value.shape)
        shape[place] += 1
        grown = value.new_empty(shape)
        # Bytes, because not every operation exists for eight-bit floats.
        target = grown.view(self.torch.uint8) if value.element_size() == 1 else grown
        source = value.view(self.torch.uint8) if value.element_size() == 1 else value
        target.zero_()
        target.narrow(place, 0, value.shape[place]).copy_(source)
        return grown

    def _copy(self, value: Any) -> Any:
        return value.clone() if isinstance(value, self.torch.Tensor) else value

    def _same(self, one: Any, other: Any) -> bool:
        """Whether two values are the same bit for bit, NaNs included."""
        torch = self.torch
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
            return type(one) is type(other) and (one == other or one != one)
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        flat = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
        return bool(torch.equal(*flat))


def _size(value: Any) -> float:
    """The sum of all numbers in a case."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    if isinstance(value, (int, float)) and math.isfinite(value):
        return abs(value)
    return 0


def in_a_line(error: BaseException) -> str:
    """An exception in a line, with the last line of the emitted code that it came through."""
    text = " ".join(str(error).split())[:500]
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<") and not frame.filename.startswith("<frozen"):
            return f"{line} ({frame.filename.strip('<>')} line {frame.lineno} in {frame.name})"
    return line


def main(channel: Any) -> int:
    """Answer definitions until there are no more; the exit status."""
    sys.meta_path.insert(0, _NoFibcore())
    try:
        import torch  # noqa: F401
    except ImportError as error:
        channel.send("fault", reason=f"torch cannot be imported: {error}")
        return 1
    channel.send("ready")
    for request in channel:
        channel.send("end", **Job(request).run())
    return 0
