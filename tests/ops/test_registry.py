"""Plugins: found through entry points, loaded one by one, their results checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from fibcore.errors import PluginError, ServingError, UsageError
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Extraction, Fact, Kernel, NotCovered, Use
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace
from fibcore.ops.hookspecs import GroundTruth, Identity, OpType, TestTemplate, hookimpl
from fibcore.ops.registry import HookError, PluginInfo, Registry, load_plugins
from fibcore.testing.trees import module, tree

PLACE = SourcePlace("sglang/srt/models/example.py", 7)
TREE = tree(module("norm", "Norm", {"hidden_size": 8}), model="llama-example")
TEMPLATE = "def cases(d): ...\ndef make_inputs(d, c, v, g): ...\nPROPERTIES = []\n"


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

    def reference(kernel: Kernel) -> Definition | None:
        return definition(kernel) if kernel.op_type == op_type else None

    given: dict[str, Callable[..., Any]] = {
        "op_types": op_types,
        "extract": extract,
        "reference": reference,
        **hooks,
    }
    return SimpleNamespace(**{f"fibcore_{n}": hookimpl(hook) for n, hook in given.items()})


def registry(**plugins: object) -> Registry:
    return load_plugins(extra=plugins, discover=False)


# --- what hooks return -----------------------------------------------------------------------


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
    "a tag without category": (kernel(tags=("fast",)), "category:value"),
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
    "a stranger claimed": (Extraction(claimed=frozenset({"elsewhere.x"})), "elsewhere.x"),
    "claimed as a list": (Extraction(claimed=["norm"]), "not a set of paths"),  # type: ignore[arg-type]
    "a gap without reason": (
        Extraction(not_covered=(NotCovered("rope", "", ()),)),
        "lacks what or reason",
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


def test_a_kernel_that_nobody_knows() -> None:
    with pytest.raises(PluginError, match="no plugin writes definitions") as caught:
        registry(toy=plugin()).reference(kernel("other"))
    assert caught.value.found == "other"


def test_the_responsible_plugin_is_asked_first() -> None:
    """A plugin whose name sorts first and that answers for everything does not get in between."""
    plugins = registry(
        a_greedy=plugin("other", identify=lambda: Identity("greedy")),
        toy=plugin("toy", identify=lambda: Identity("own")),
    )
    assert plugins.variant(definition(kernel("toy"))) == "own"
    assert plugins.variant(definition(kernel("other"))) == "greedy"


def test_what_nobody_answers() -> None:
    plugins = registry(toy=plugin())
    assert plugins.identify(definition(kernel())) == Identity()
    assert plugins.ground_truths(definition(kernel())) == ()
    assert plugins.test_template("toy") is None


def test_a_function_of_no_plugin_is_known_by_its_name_alone() -> None:
    plugins = registry(toy=plugin(identify=lambda: None))
    assert plugins.function_of(definition(kernel("toy"))) == ""
    foreign = definition(kernel("other"))
    assert plugins.function_of(foreign) == foreign.name
    assert plugins.function_of(attrs.evolve(foreign, name=f"{foreign.name}_v2")) == foreign.name


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


def test_an_identity_is_the_plugin_s() -> None:
    identity = Identity("causal", ("sizes",))
    plugins = registry(toy=plugin(identify=lambda: identity))
    assert plugins.identify(definition(kernel())) == identity


TRUTH = GroundTruth("torch", "torch", "entry", "def entry(x):\n    return x\n")

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
    with pytest.raises(HookError) as caught:
        registry(toy=plugin(ground_truths=lambda: bad)).ground_truths(definition(kernel()))
    assert message in str(caught.value)


def test_ground_truths_keep_their_order() -> None:
    truths = [TRUTH, attrs.evolve(TRUTH, name="second")]
    plugins = registry(toy=plugin(ground_truths=lambda: truths))
    assert plugins.ground_truths(definition(kernel())) == tuple(truths)


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


# --- loading ---------------------------------------------------------------------------------


def test_two_plugins_cannot_claim_one_op_type() -> None:
    with pytest.raises(PluginError, match="two plugins claim one op type") as caught:
        registry(one=plugin("toy"), two=plugin("toy"))
    assert caught.value.where == "op type toy"
    assert caught.value.found == "one and two"
    assert "--disable-plugin two" in str(caught.value.hint)


BAD_PLUGINS: dict[str, tuple[object, str]] = {
    "an unknown hook": (
        SimpleNamespace(fibcore_extrakt=hookimpl(lambda: None)),
        "unknown hook 'fibcore_extrakt'",
    ),
    "an unknown parameter": (
        SimpleNamespace(fibcore_extract=hookimpl(lambda gpu: gpu)),
        "gpu",
    ),
    "no hook": (SimpleNamespace(fibcore_extract=lambda: None), "no hook"),
    "None": (None, "it is None"),
    "op types that raise": (plugin(op_types=lambda: 1 // 0), "ZeroDivisionError"),
    "no op types": (plugin(op_types=lambda: ()), "names no op type"),
    "an op type that is a path": (plugin("a/b"), "'a/b'"),
    "an op type without description": (plugin(op_types=lambda: [OpType("toy", " ")]), "descr"),
    "an op type twice": (plugin(op_types=lambda: [OpType("toy", "x")] * 2), "twice"),
    "op types that are text": (plugin(op_types=lambda: ["toy"]), "not OpType"),
}


@pytest.mark.parametrize("case", BAD_PLUGINS)
def test_plugins_that_are_handed_over_have_to_be_right(case: str) -> None:
    bad, message = BAD_PLUGINS[case]
    with pytest.raises(PluginError) as caught:
        registry(bad=bad)
    assert "plugin bad" in str(caught.value)
    assert message in str(caught.value)


def test_disabled_plugins_are_not_used() -> None:
    plugins = load_plugins(extra={"toy": plugin()}, disable=["toy"], discover=False)
    (info,) = plugins.plugins
    assert (info.status, info.cause) == ("disabled", "disabled")
    assert plugins.op_types() == {}
    assert plugins.extract(TREE, Serving()).extractions == ()


@pytest.mark.parametrize("option", ["disable", "require"])
def test_unknown_names_bring_the_nearest(option: str) -> None:
    names: dict[str, Any] = {option: ["rmsnrom"]}
    with pytest.raises(UsageError) as caught:
        load_plugins(
            extra={"rmsnorm": plugin("rmsnorm"), "gemm": plugin("gemm")}, discover=False, **names
        )
    assert caught.value.where == option
    assert str(caught.value.expected).startswith("rmsnorm")


def test_one_name_given_as_a_string_is_not_a_list_of_letters() -> None:
    with pytest.raises(UsageError, match="a list"):
        load_plugins(extra={"toy": plugin()}, disable="toy", discover=False)


def test_required_and_disabled_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="both"):
        load_plugins(extra={"toy": plugin()}, disable=["toy"], require=["toy"], discover=False)


# --- entry points ----------------------------------------------------------------------------

GOOD = """
from fibcore.ops.hookspecs import OpType, hookimpl

@hookimpl
def fibcore_op_types():
    return [OpType("OP", "a plugin of this test")]
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a distribution with an entry point, as an installer would leave it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def install(
        name: str,
        source: str | None,
        *,
        entry: str | None = None,
        dist: str | None = None,
        requires: tuple[str, ...] = (),
    ) -> None:
        package = f"fibtest_{dist or name}".replace("-", "_")
        dist = dist or f"fibtest-{name}"
        info = tmp_path / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", "Version: 1.2"]
        lines += [f"Requires-Dist: {r}" for r in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[fibcore]\n{name} = {entry or package}\n")
        if source is not None:
            (tmp_path / f"{package}.py").write_text(source.replace("OP", f"op_{name}"))

    yield install
    for name in set(sys.modules) - before:
        if name.startswith("fibtest_"):
            del sys.modules[name]


def info(plugins: Registry, name: str) -> PluginInfo:
    (found,) = (p for p in plugins.plugins if p.name == name)
    return found


def test_plugins_are_found_through_their_entry_points(install: Install) -> None:
    install("found", GOOD)
    plugins = load_plugins()
    assert info(plugins, "found") == PluginInfo(
        "found", "fibtest-found", "1.2", "active", None, ("op_found",)
    )
    assert plugins.op_types()["op_found"].plugin == "found"


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing module": (
        {"source": "import a_package_that_is_not_there\n" + GOOD},
        "missing module",
        "it needs a_package_that_is_not_there",
    ),
    "version of fibcore": (
        {"source": GOOD, "requires": ("fibcore>=900",)},
        "version conflict",
        "it needs fibcore>=900, ",
    ),
    "version of another": (
        {"source": GOOD, "requires": ("attrs<1",)},
        "version conflict",
        "it needs attrs<1, ",
    ),
    "a name that fibcore lacks": (
        {"source": "from fibcore.ops.hookspecs import SomethingNewer\n" + GOOD},
        "version conflict",
        "SomethingNewer",
    ),
    "a module that fibcore lacks": (
        {"source": "import fibcore.something_newer\n" + GOOD},
        "version conflict",
        "it needs fibcore.something_newer",
    ),
    "a bug": ({"source": "1 / 0\n"}, "plugin bug", "ZeroDivisionError"),
    "an end": ({"source": "raise SystemExit(1)\n"}, "plugin bug", "SystemExit"),
    "a syntax error": ({"source": "def\n"}, "plugin bug", "SyntaxError"),
    "a module of its own": ({"source": None}, "plugin bug", "fibtest_broken"),
    "an object of its own": (
        {"source": GOOD, "entry": "fibtest_broken:plugin"},
        "plugin bug",
        "AttributeError",
    ),
    "an unknown hook": (
        {"source": GOOD.replace("fibcore_op_types", "fibcore_optypes")},
        "plugin bug",
        "unknown hook 'fibcore_optypes'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_skipped_with_its_reason(install: Install, case: str) -> None:
    how, cause, reason = BROKEN[case]
    install("broken", **how)
    install("whole", GOOD)
    plugins = load_plugins()
    found = info(plugins, "broken")
    assert (found.status, found.cause) == ("skipped", cause)
    assert reason in str(found.reason)
    assert (found.distribution, found.version) == ("fibtest-broken", "1.2")
    assert info(plugins, "whole").status == "active"
    assert plugins.skipped() == tuple(p for p in plugins.plugins if p.status == "skipped")

    with pytest.raises(PluginError) as caught:
        load_plugins(require=["broken"])
    assert "broken (fibtest-broken 1.2)" in str(caught.value)
    assert cause in str(caught.value.found)
    assert load_plugins(disable=["broken"]).skipped() == ()


def test_requirements_that_do_not_apply_are_no_conflict(install: Install) -> None:
    install(
        "fine",
        GOOD,
        requires=("attrs<1; extra == 'old'", "attrs<1; python_version < '3'", "fibcore>=0.0.1"),
    )
    assert info(load_plugins(), "fine").status == "active"


def test_a_disabled_plugin_is_not_even_imported(install: Install) -> None:
    install("side", "raise RuntimeError('imported')")
    assert info(load_plugins(disable=["side"]), "side").status == "disabled"
    assert "fibtest_side" not in sys.modules


def test_one_name_in_two_distributions(install: Install) -> None:
    install("same", GOOD, dist="fibtest-b")
    install("same", GOOD, dist="fibtest-a")
    first, second = (p for p in load_plugins().plugins if p.name == "same")
    assert (first.distribution, first.status) == ("fibtest-a", "active")
    assert (second.distribution, second.status) == ("fibtest-b", "skipped")
    assert "taken by fibtest-a 1.2" in str(second.reason)


def test_an_object_takes_the_place_of_an_installed_plugin(install: Install) -> None:
    install("mine", GOOD)
    found = info(load_plugins(extra={"mine": plugin("toy")}), "mine")
    assert (found.distribution, found.op_types) == (None, ("toy",))
