"""The three kinds of tests: the file, agreement with a ground truth, properties."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch

from fibcore.verification.emitted.comparing import compare_tensors
from fibcore.verification.emitted.definitions import load_run
from fibcore.verification.emitted.devices import device_of, machine
from fibcore.verification.emitted.errors import GroundTruthUnavailableError
from fibcore.verification.emitted.ground_truths import run_ground_truth, why_unavailable
from fibcore.verification.emitted.options import option
from fibcore.verification.emitted.subjects import Subject
from fibcore.verification.emitted.tensors import (
    check_comparable,
    check_tensors,
    clone_inputs,
    named_outputs,
    same_bits,
)
from fibcore.verification.emitted.tolerances import tolerance_of, with_rounding


class ReferenceTest:
    """What the three kinds of tests have in common: device, options and the record for evidence."""

    def __init__(self, request: pytest.FixtureRequest, kind: str, **more: Any) -> None:
        self.subject: Subject = request.param[0]
        config = request.config
        self.device, no_device = device_of(config)
        self.sglang = option(config, "--sglang")
        self.tolerance = option(config, "--tolerance")
        self.record = self.subject.record(kind, **more, **machine(self.device))
        if self.tolerance is not None:
            self.record["tolerance"] = self.tolerance
        request.node.user_properties.append(("reference_test", self.record))
        if no_device and kind != "definition":
            pytest.skip(no_device)

    @property
    def definition(self) -> dict[str, Any]:
        """A copy of the definition's data, which no test can change for another."""
        return copy.deepcopy(cast("dict[str, Any]", self.subject.definition))

    def generator(self, case: Mapping[str, Any]) -> torch.Generator:
        """A generator whose seed depends on the definition and the case alone."""
        digest = hashlib.sha256(f"{self.subject.name}\0{case['id']}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class DefinitionFile(ReferenceTest):
    """One definition's file."""

    def check(self) -> None:
        """Assert that the file is a definition whose reference can be executed."""
        __tracebackhide__ = True
        if self.subject.broken is not None:
            raise AssertionError(self.subject.broken)
        load_run(self.definition)


class Agreement(ReferenceTest):
    """One definition and one case, to be compared with a ground truth."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.case: dict[str, Any] = copy.deepcopy(request.param[1])
        self.node = request.node
        super().__init__(request, "agreement", case=self.case["id"])

    def check(self) -> None:
        """Assert that `run` agrees with the first ground truth that can run here; skip if none."""
        __tracebackhide__ = True
        subject, definition = self.subject, self.definition
        entry = subject.entry
        if entry is None:
            pytest.skip(
                f"{subject.name} was not there when these tests were generated: "
                f"fibcore add-reference-tests --definition-name {subject.name}"
            )
        truths = [subject.module.GROUND_TRUTHS[key] for key in entry["ground_truths"]]
        if not truths:
            pytest.skip(f"there is no ground truth for {subject.name}")
        reasons = self.record["unavailable"] = {}
        usable = []
        for truth in truths:
            reason = why_unavailable(truth, self.device, self.sglang)
            if reason:
                reasons[truth["name"]] = reason
            else:
                usable.append(truth)
        if usable:
            try:
                inputs = self.inputs(definition)
            except torch.cuda.OutOfMemoryError:
                pytest.skip("the inputs need more memory than this GPU has")
            outputs = self.reference_outputs(definition, inputs)
        for truth in usable:
            try:
                result, who = self.ground_truth(truth, inputs)
            except GroundTruthUnavailableError as error:
                reasons[truth["name"]] = str(error)
                continue
            self.compare(definition, outputs, result, who, entry["tolerance"], inputs)
            return
        pytest.skip("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))

    def inputs(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """The case's inputs, checked against the definition."""
        __tracebackhide__ = True
        make = self.subject.module.make_inputs
        inputs = make(self.definition, self.case, self.device, self.generator(self.case))
        if list(inputs) != list(definition["inputs"]):
            raise AssertionError(
                f"make_inputs of the template gives {list(inputs)}, "
                f"expected {list(definition['inputs'])}"
            )
        self.sizes: dict[str, int] = {}
        check_tensors(
            definition, "inputs", inputs, self.sizes, self.device, "make_inputs of the template"
        )
        axes = definition["axes"]
        self.record["sizes"] = {n: s for n, s in self.sizes.items() if axes[n]["type"] == "var"}
        return cast("dict[str, Any]", inputs)

    def reference_outputs(
        self, definition: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The reference's outputs, with their count, shapes and dtypes checked."""
        __tracebackhide__ = True
        own = clone_inputs(inputs)
        with torch.no_grad():
            result = load_run(definition)(*own.values())
            self.synchronize()
        changed = [name for name in inputs if not same_bits(inputs[name], own[name])]
        if changed:
            raise AssertionError(f"the reference changed its inputs: {', '.join(changed)}")
        outputs = named_outputs(definition, result, "the reference")
        check_tensors(
            definition, "outputs", outputs, self.sizes, self.device, "outputs of the reference"
        )
        return outputs

    def ground_truth(
        self, truth: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """What the ground truth makes of copies of the inputs (it may work in place)."""
        __tracebackhide__ = True
        with torch.no_grad():
            result, who = run_ground_truth(
                self.subject.module, truth, clone_inputs(inputs), self.sglang
            )
            self.synchronize()
        return result, who

    def synchronize(self) -> None:
        """Wait for the GPU, so that an error is raised where it was caused."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def compare(
        self,
        definition: Mapping[str, Any],
        outputs: Mapping[str, Any],
        result: Any,
        who: Mapping[str, Any],
        tolerance: float | None,
        inputs: Mapping[str, Any],
    ) -> None:
        """Assert that every output that the ground truth gives is within tolerance."""
        __tracebackhide__ = True
        self.record["ground_truth"] = dict(who)
        self.node.user_properties.append(("ground_truth", who["name"]))
        if tolerance is not None:
            self.record.setdefault("tolerance", tolerance)
        title = f"the ground truth {who['name']}"
        expected = named_outputs(definition, result, title)
        if all(value is None for value in expected.values()):
            raise AssertionError(f"{title} gave no output: nothing was compared")
        figures = self.record["outputs"] = {}
        problems = []
        for name, value in expected.items():
            if value is None:
                self.record.setdefault("not_compared", []).append(name)
                continue
            actual = outputs[name]
            check_comparable(actual, value, name, title)
            figures[name] = {"elements": actual.numel()}
            value = value.to(actual.device)
            try:
                self.compare_output(definition, name, actual, value, tolerance, inputs)
            except AssertionError as error:
                problems.append(str(error))
        if problems:
            first = f"{self.subject.name}, case {self.case['id']}: differs from {title}"
            raise AssertionError("\n".join([first, *problems]))

    def compare_output(
        self,
        definition: Mapping[str, Any],
        name: str,
        actual: torch.Tensor,
        expected: torch.Tensor,
        tolerance: float | None,
        inputs: Mapping[str, Any],
    ) -> None:
        """Assert that one output is within tolerance, or what the template's `compare` asserts."""
        __tracebackhide__ = True
        module = self.subject.module
        override = tolerance if self.tolerance is None else self.tolerance
        rtol, atol, ratio = tolerance_of(definition, name, module, override)

        def check(
            actual: torch.Tensor, expected: torch.Tensor, rounding: torch.Tensor | None = None
        ) -> None:
            __tracebackhide__ = True
            # Who asks for a tolerance of his own gets that one.
            bound = atol if override is not None else with_rounding(atol, rounding)
            comparison = compare_tensors(actual, expected, rtol, bound, ratio)
            self.record["outputs"][name] = comparison.figures
            if not comparison.inside:
                raise AssertionError(f"output {name}:\n{comparison.text}")

        if hasattr(module, "compare"):
            more = {}
            if "inputs" in inspect.signature(module.compare).parameters:
                more["inputs"] = clone_inputs(inputs)
            module.compare(self.definition, self.case, name, actual, expected, check, **more)
        else:
            check(actual, expected)


class PropertyCheck(ReferenceTest):
    """One definition, one case and one property."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.case: dict[str, Any] = copy.deepcopy(request.param[1])
        self.function: Callable[..., None] = request.param[2]
        name = self.function.__name__
        super().__init__(request, "property", case=self.case["id"], property=name)

    def check(self) -> None:
        """Let the property assert what it has to."""
        __tracebackhide__ = True
        run = load_run(self.definition)
        with torch.no_grad():
            result: object = self.function(
                run, self.definition, self.case, self.device, self.generator(self.case)
            )
        if result is not None:
            raise AssertionError(
                f"{self.function.__name__} returned {result!r}; a property asserts and returns "
                "nothing"
            )
