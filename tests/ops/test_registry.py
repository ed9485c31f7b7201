"""The registry: who is asked, in which order, and what a plugin's failure leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable

import attrs
import pytest
from plugin_toy import TREE, TRUTH, definition, kernel, plugin, registry

from fibcore.errors import PluginError, ServingError
from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction
from fibcore.model.serving import Serving
from fibcore.ops.hookspecs import GroundTruth, Identity
from fibcore.ops.registry import HookError


def test_plugins_answer_for_their_own_op_types() -> None:
    plugins = registry(one=plugin("one"), two=plugin("two"))
    found, errors = plugins.extract(TREE, Serving())
    assert [(name, e.kernels[0].name) for name, e in found] == [
        ("one", "one_h8"),
        ("two", "two_h8"),
    ]
    assert errors == ()
    assert plugins.reference(kernel("two")).name == "two_h8"
    assert {n: o.plugin for n, o in plugins.op_types().items()} == {"one": "one", "two": "two"}
    assert [(p.name, p.status, p.op_types) for p in plugins.plugins] == [
        ("one", "active", ("one",)),
        ("two", "active", ("two",)),
    ]


def test_a_plugin_that_raises_leaves_the_others_alone() -> None:
    def extract() -> Extraction:
        raise KeyError("hidden_size")

    found, errors = registry(bad=plugin("bad", extract=extract), good=plugin("good")).extract(
        TREE, Serving()
    )
    assert [name for name, _ in found] == ["good"]
    (error,) = errors
    assert isinstance(error, HookError)
    assert (error.plugin, error.hook) == ("bad", "fibcore_extract")
    text = str(error)
    for part in ("bad", "fibcore_extract", "llama-example", "KeyError", "test_registry.py:"):
        assert part in text


def test_a_plugin_that_ends_the_process_does_not_end_the_process() -> None:
    def extract() -> Extraction:
        sys.exit(3)

    _, errors = registry(bad=plugin(extract=extract)).extract(TREE, Serving())
    assert "SystemExit" in str(errors[0])


def test_impossible_serving_sizes_are_no_fault_of_the_plugin() -> None:
    refusal = ServingError("heads are not divisible", expected="a divisor of 8", found="tp=3")

    def extract() -> Extraction:
        raise refusal

    _, errors = registry(toy=plugin(extract=extract)).extract(TREE, Serving(tp=3))
    assert errors == (refusal,)


def test_a_kernel_that_nobody_knows() -> None:
    with pytest.raises(PluginError, match="no plugin writes definitions") as caught:
        registry(toy=plugin()).reference(kernel("other"))
    assert caught.value.found == "other"


def test_the_owner_of_an_op_type_alone_is_asked() -> None:
    asked = []

    def identify(definition: Definition) -> Identity:
        asked.append(definition.op_type)
        return Identity("other's")

    plugins = registry(a_first=plugin("other", identify=identify), toy=plugin("toy"))
    assert plugins.variant(definition(kernel("toy"))) == ""
    assert plugins.variant(definition(kernel("of_nobody"))) == ""
    assert plugins.variant(definition(kernel("other"))) == "other's"
    assert asked == ["other"]


@pytest.mark.parametrize("hook", ["reference", "identify", "test_template", "workloads"])
def test_the_owner_has_to_answer(hook: str) -> None:
    plugins = registry(toy=plugin(**{hook: lambda: None}))
    calls: dict[str, Callable[[], object]] = {
        "reference": lambda: plugins.reference(kernel()),
        "identify": lambda: plugins.identify(definition(kernel())),
        "test_template": lambda: plugins.test_template("toy"),
        "workloads": lambda: plugins.workloads(definition(kernel()), {}, 0),
    }
    with pytest.raises(HookError, match="does not allow") as caught:
        calls[hook]()
    assert "NoneType" in str(caught.value.found)


def test_what_the_owner_has_no_hook_for() -> None:
    plugins = registry(toy=plugin())
    assert plugins.identify(definition(kernel())) == Identity()
    assert plugins.ground_truths(definition(kernel())) == ((), ())
    assert plugins.test_template("toy") is None


def test_a_function_of_no_plugin_is_known_by_its_name_alone() -> None:
    plugins = registry(toy=plugin())
    assert plugins.function_of(definition(kernel("toy"))) == ""
    foreign = definition(kernel("other"))
    assert plugins.function_of(foreign) == foreign.name
    assert plugins.function_of(attrs.evolve(foreign, name=f"{foreign.name}_v2")) == foreign.name


def test_an_identity_is_the_plugin_s() -> None:
    identity = Identity("causal", ("sizes",))
    plugins = registry(toy=plugin(identify=lambda: identity))
    assert plugins.identify(definition(kernel())) == identity


def test_ground_truths_keep_their_order() -> None:
    truths = [TRUTH, attrs.evolve(TRUTH, name="second")]
    plugins = registry(toy=plugin(ground_truths=lambda: truths))
    assert plugins.ground_truths(definition(kernel())).truths == tuple(truths)


def named(name: str) -> GroundTruth:
    return attrs.evolve(TRUTH, name=name)


def test_ground_truths_come_from_every_plugin_the_owner_s_first() -> None:
    plugins = registry(
        a_fast=plugin("other", ground_truths=lambda: [named("fast")]),
        b_none=plugin("none", ground_truths=lambda: None),
        toy=plugin("toy", ground_truths=lambda: [named("own"), named("slow")]),
        z_last=plugin("last", ground_truths=lambda: [named("last")]),
    )
    found = plugins.ground_truths(definition(kernel("toy")))
    assert [(p, t.name) for p, t in found.offered] == [
        ("toy", "own"),
        ("toy", "slow"),
        ("a_fast", "fast"),
        ("z_last", "last"),
    ]
    assert found.errors == ()


def test_ground_truths_of_a_plugin_that_fails_are_missing_alone() -> None:
    def fails() -> None:
        raise KeyError("hidden_size")

    plugins = registry(
        a_bad=plugin("bad", ground_truths=fails),
        toy=plugin("toy", ground_truths=lambda: [TRUTH]),
    )
    found = plugins.ground_truths(definition(kernel("toy")))
    assert found.truths == (TRUTH,)
    assert [error.plugin for error in found.errors] == ["a_bad"]


def test_two_plugins_cannot_give_ground_truths_of_one_name() -> None:
    plugins = registry(
        a_first=plugin("other", ground_truths=lambda: [attrs.evolve(TRUTH, device="cuda")]),
        toy=plugin("toy", ground_truths=lambda: [TRUTH]),
    )
    found = plugins.ground_truths(definition(kernel("toy")))
    assert found.offered == (("toy", TRUTH),)
    assert found.errors[0].plugin == "a_first"
    assert "plugin toy has a ground truth of this name" in str(found.errors[0])
