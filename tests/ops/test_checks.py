"""Checks of what hooks return, with the sentence for each thing that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs
import pytest
from plugin_toy import PLACE, TEMPLATE, TREE, TRUTH, definition, kernel, plugin, registry

from fibcore.model.cost import Cost
from fibcore.model.definition import const, var
from fibcore.model.kernel import Extraction, Kernel, NotCovered, Use
from fibcore.model.serving import Serving
from fibcore.model.shapes import device_bytes
from fibcore.ops import checks
from fibcore.ops.hookspecs import Identity, TestTemplate
from fibcore.ops.registry import HookError

SIZES = {"batch": 3}
TOY = definition(kernel())

BAD_KERNELS: dict[str, tuple[Kernel, str]] = {
    "another plugin's op type": (kernel("other"), "'other' is not one of the plugin's: toy"),
    "no uses": (kernel(uses=()), "no uses"),
    "no facts": (kernel(facts={}), "no facts"),
    "a fact that is none": (kernel(facts={"hidden_size": 8}), "hidden_size is int '8', not Fact"),
    "a name that is a path": (kernel(name="../toy"), "cannot be a file name"),
    "an unknown parameter": (kernel(parameters={"h": None}), "parameter h is NoneType"),
    "an infinite parameter": (kernel(parameters={"h": float("inf")}), "not a finite"),
    "a status": (kernel(tags=("status:verified",)), "the core sets the tag"),
    "a model": (kernel(tags=("model:llama",)), "the core sets the tag"),
    "a tag without category": (kernel(tags=(":fast",)), "category:value"),
    "tags that are a string": (kernel(tags="tp:1"), "tags is str"),
    "a user that does not exist": (
        kernel(uses=(Use("no.such.layer", "Norm", PLACE),)),
        "a path that the tree does not have: no.such.layer",
    ),
}


@pytest.mark.parametrize("case", BAD_KERNELS)
def test_kernels_that_are_not_allowed(case: str) -> None:
    bad, message = BAD_KERNELS[case]

    def extract() -> Extraction:
        return Extraction((bad,))

    found, errors = registry(toy=plugin(extract=extract)).extract(TREE, Serving())
    assert found == ()
    assert message in str(errors[0])


BAD_EXTRACTIONS: dict[str, tuple[object, str]] = {
    "nothing": (None, "NoneType"),
    "a list": ([kernel()], "list"),
    "two of a name": (Extraction((kernel(), kernel())), "two kernels are named toy_h8"),
    "an unknown path claimed": (Extraction(claimed=frozenset({"elsewhere.x"})), "elsewhere.x"),
    "claimed as a list": (Extraction(claimed=["norm"]), "not a set of paths"),  # type: ignore[arg-type]
    "a gap without reason": (
        Extraction(not_covered=(NotCovered("rope", "", ()),)),
        "lacks what or reason",
    ),
    "a gap that moves somehow": (
        Extraction(not_covered=(NotCovered("rope", "why", (), moves="away"),)),  # type: ignore[arg-type]
        "not as a copy or a collective",
    ),
    "kernels of another kind": (Extraction(kernels=("toy_h8",)), "not Kernel"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD_EXTRACTIONS)
def test_extractions_that_are_not_allowed(case: str) -> None:
    bad, message = BAD_EXTRACTIONS[case]
    found, errors = registry(toy=plugin(extract=lambda: bad)).extract(TREE, Serving())
    assert found == ()
    assert message in str(errors[0])


BAD_REFERENCES: dict[str, tuple[Callable[..., object], str]] = {
    "another name": (lambda kernel: definition(kernel, name="other"), "its name is 'other'"),
    "another op type": (
        lambda kernel: definition(kernel, op_type="other"),
        "its op_type is 'other'",
    ),
    "other tags": (
        lambda kernel: definition(kernel, tags=("tp:1", "stage:decode")),
        "its tags are",
    ),
    "a size without fact": (
        lambda kernel: definition(
            kernel, axes={"batch": var(), "hidden_size": const(8), "more": const(2)}
        ),
        "the const axis more has no fact",
    ),
    "a size that is not the fact's": (
        lambda kernel: definition(kernel, axes={"batch": var(), "hidden_size": const(9)}),
        "hidden_size is 9, its fact says 8",
    ),
    "text": (lambda: "def run(x): ...", "not Definition"),
}


@pytest.mark.parametrize("case", BAD_REFERENCES)
def test_definitions_that_do_not_fit_their_kernel(case: str) -> None:
    make, message = BAD_REFERENCES[case]
    with pytest.raises(HookError) as caught:
        registry(toy=plugin(reference=make)).reference(kernel())
    assert message in str(caught.value)
    assert "toy_h8" in str(caught.value)


BAD_IDENTITIES: dict[str, tuple[object, str]] = {
    "a variant alone": ("causal", "the result is str 'causal', not Identity"),
    "a variant that is no text": (Identity(3), "variant is int '3', not str"),  # type: ignore[arg-type]
    "one sentence": (Identity("", "heads"), "contradictions is str 'heads'"),  # type: ignore[arg-type]
    "a sentence without words": (Identity("", ("",)), "has no words"),
    "a number": (Identity("", (3,)), "contradictions is int '3'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD_IDENTITIES)
def test_identities_that_are_none(case: str) -> None:
    result, message = BAD_IDENTITIES[case]
    with pytest.raises(HookError) as caught:
        registry(toy=plugin(identify=lambda: result)).identify(definition(kernel()))
    assert message in str(caught.value)


BAD_TRUTHS: dict[str, tuple[object, str]] = {
    "one instead of a sequence": (TRUTH, "not a sequence"),
    "an unknown kind": ((attrs.evolve(TRUTH, kind="cudnn"),), "its kind is 'cudnn'"),
    "an unknown device": ((attrs.evolve(TRUTH, device="gpu"),), "its device is 'gpu'"),
    "no such entry": ((attrs.evolve(TRUTH, entry="missing"),), "no top-level 'missing'"),
    "broken source": ((attrs.evolve(TRUTH, source="def"),), "does not parse"),
    "a capability as text": ((attrs.evolve(TRUTH, min_capability="9.0"),), "not like (9, 0)"),  # type: ignore[arg-type]
    "packages as text": ((attrs.evolve(TRUTH, packages="flashinfer"),), "packages is str"),  # type: ignore[arg-type]
    "twice": ((TRUTH, TRUTH), "one name"),
}


@pytest.mark.parametrize("case", BAD_TRUTHS)
def test_ground_truths_that_are_not_allowed(case: str) -> None:
    bad, message = BAD_TRUTHS[case]
    found = registry(toy=plugin(ground_truths=lambda: bad)).ground_truths(definition(kernel()))
    assert found.offered == ()
    assert message in str(found.errors[0])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TestTemplate("other", TEMPLATE), "it is for 'other'"),
        (TestTemplate("toy", "def cases(d): ...\n"), "does not define PROPERTIES, make_inputs"),
        (TEMPLATE, "not TestTemplate"),
    ],
)
def test_templates_that_are_not_allowed(template: object, message: str) -> None:
    with pytest.raises(HookError) as caught:
        registry(toy=plugin(test_template=lambda: template)).test_template("toy")
    assert message in str(caught.value)


COST = Cost(4, "float32", 2, 1)
BAD_COSTS: dict[str, tuple[object, str]] = {
    "a number": (7, "int '7', not Cost"),
    "less than nothing": (attrs.evolve(COST, bytes_read=-1), "bytes_read is int '-1'"),
    "half an operation": (attrs.evolve(COST, flops=0.5), "flops is float '0.5'"),
    "an unknown dtype": (attrs.evolve(COST, dtype="tf32"), "dtype is 'tf32', not one of float32"),
    "an assumption alone": (attrs.evolve(COST, assumes="all is well"), "go together"),
    "a bound alone": (attrs.evolve(COST, least=COST), "go together"),
    "a bound from above": (
        attrs.evolve(COST, assumes="x", least=attrs.evolve(COST, bytes_read=3)),
        "least is more than the cost itself",
    ),
}


@pytest.mark.parametrize("case", BAD_COSTS)
def test_costs_that_are_not_allowed(case: str) -> None:
    bad, message = BAD_COSTS[case]

    def cost() -> object:
        return bad

    with pytest.raises(HookError, match=re.escape(message)):
        registry(toy=plugin(cost=cost)).cost(TOY, SIZES)


def test_without_a_cost_shapes_tell() -> None:
    def unknown() -> None:
        return None

    for asked in (registry(toy=plugin()), registry(toy=plugin(cost=unknown))):
        cost = asked.cost(TOY, SIZES)
        assert cost.bytes_moved == device_bytes(TOY, SIZES)
        assert cost.certain.bytes_read == 0


def test_the_hook_is_given_the_var_axes() -> None:
    seen = {}

    def cost(axes: dict[str, int], values: dict[str, list[int]]) -> Cost:
        seen.update(axes=axes, values=values)
        return COST

    asked = registry(toy=plugin(cost=cost))
    assert asked.cost(TOY, {**SIZES, "hidden_size": 8}, {"x": [1]}) == COST
    assert seen == {"axes": SIZES, "values": {"x": [1]}}


def test_sizes_of_a_step_are_integers() -> None:
    assert checks.check_step_sizes({"num_windows": 0}) == {"num_windows": 0}
    for wrong in ({"num_windows": -1}, {"num_windows": 1.5}, {"num_windows": True}):
        with pytest.raises(ValueError, match="the size of num_windows is"):
            checks.check_step_sizes(wrong)
    with pytest.raises(ValueError, match="not a mapping"):
        checks.check_step_sizes(3)
