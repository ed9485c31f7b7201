"""Loading: plugins as objects and through entry points, broken ones, versions, names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plugin_toy import TREE, plugin, registry

from fibcore.errors import PluginError, UsageError
from fibcore.model.serving import Serving
from fibcore.ops import loading
from fibcore.ops.hookspecs import HOOK_API, OpType, hookimpl
from fibcore.ops.registry import PluginInfo, Registry, load_plugins


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
    assert caught.value.where == {"disable": "--disable-plugin"}.get(option, option)
    assert str(caught.value.expected).startswith("rmsnorm")


def test_one_name_given_as_a_string_is_not_a_list_of_letters() -> None:
    with pytest.raises(UsageError, match="a list"):
        load_plugins(extra={"toy": plugin()}, disable="toy", discover=False)


def test_required_and_disabled_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="both"):
        load_plugins(extra={"toy": plugin()}, disable=["toy"], require=["toy"], discover=False)


@pytest.mark.parametrize("version", [HOOK_API, None])
def test_plugins_for_these_hooks(version: int | None) -> None:
    one = plugin()
    if version is not None:
        one.fibcore_hook_api = version
    assert info(registry(toy=one), "toy").status == "active"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (
            HOOK_API + 1,
            f"it is for version {HOOK_API + 1} of the hooks, this fibcore has version {HOOK_API}",
        ),
        ("1", "its fibcore_hook_api is '1', not a number"),
    ],
)
def test_plugins_for_other_hooks_cannot_be_required(version: object, reason: str) -> None:
    one = plugin()
    one.fibcore_hook_api = version
    with pytest.raises(PluginError) as caught:
        registry(toy=one)
    assert reason in str(caught.value)


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
    "other hooks": (
        {"source": "fibcore_hook_api = 900\n" + GOOD.replace("op_types", "of_another_name")},
        "version conflict",
        f"it is for version 900 of the hooks, this fibcore has version {HOOK_API}",
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


@pytest.mark.parametrize("version", ["0.9", "1", "1.0", "1.0.1", "1.2", "1.10", "2.0", "2.0.0.1"])
@pytest.mark.parametrize("bounds", ["", ">=1", ">=1.0,<2", "<2.0,>=1.2", ">=1.0.0", "<1.10.0"])
def test_plain_requirements_are_met_where_packaging_says_so(
    monkeypatch: pytest.MonkeyPatch, version: str, bounds: str
) -> None:
    from packaging.requirements import Requirement

    monkeypatch.setattr("fibcore.ops.loading._installed_version", lambda _: version)
    text = f"thing{bounds}"
    assert loading._plainly_met(text) == Requirement(text).specifier.contains(version)
    assert not loading._plainly_met(f"{text}; python_version < '4'")
    assert not loading._plainly_met("thing[extra]>=1")
    assert not loading._plainly_met("thing~=1.0")
