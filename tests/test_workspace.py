"""Where functions of the API work: one set of keywords, found when first asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.errors import PluginError, SourceError, UsageError
from fibcore.keywords import listed
from fibcore.ops.checks import RESERVED
from fibcore.ops.registry import Registry, load_plugins
from fibcore.workspace import Where, Workspace, plugins

FUNCTIONS = sorted(
    name
    for name in fibcore.__all__
    if callable(getattr(fibcore, name))
    and not isinstance(getattr(fibcore, name), type)
    and name != "hookimpl"
)


def test_every_function_of_the_api_takes_the_same_keywords() -> None:
    assert len(FUNCTIONS) == 32
    assert set(Where.__annotations__) == {
        *("target_dir", "dataset", "sglang", "package", "registry", "disable_plugin", "progress")
    }
    for name in FUNCTIONS:
        keywords: tuple[str, ...] = getattr(fibcore, name).keywords
        assert set(Where.__annotations__) <= set(keywords), name
        assert len(set(keywords)) == len(keywords), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_keyword_that_is_wrong_is_refused_with_the_nearest(name: str) -> None:
    needed = {"hierarchy": ["m"], "explain": ["d"], "import_trace": ["t"], "run": ["m"]}
    needed |= {key: ["m"] for key in ("extract", "diff", "add_new_model")}
    needed |= {key: ["m"] for key in ("tree", "check", "export", "shapes", "sizes", "step")}
    with pytest.raises(UsageError) as caught:
        getattr(fibcore, name)(
            *needed.get(name, ()), datset="x", registry=load_plugins(discover=False)
        )
    assert caught.value.where == "datset"
    assert caught.value.expected is not None
    assert "dataset" in caught.value.expected


@pytest.mark.parametrize("name", ["extract", "run", "diff", "coverage", "add_new_model"])
def test_no_option_of_an_op_type_can_clash_with_a_keyword(name: str) -> None:
    assert set(getattr(fibcore, name).keywords) <= RESERVED


def test_own_options_are_among_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fibcore.extract("m", target_dir=tmp_path, dry_rum=True)  # type: ignore[call-arg]
    assert caught.value.expected is not None
    assert caught.value.expected.startswith("dry_run")


def test_strings_and_paths_mean_the_same(tmp_path: Path) -> None:
    one = Workspace.of(target_dir=tmp_path, dataset=tmp_path / "d", sglang=tmp_path)
    other = Workspace.of(
        target_dir=str(tmp_path), dataset=str(tmp_path / "d"), sglang=str(tmp_path)
    )
    assert one == other
    assert Workspace.of(disable_plugin="moe") == Workspace.of(disable_plugin=["moe"])


def test_defaults() -> None:
    assert Workspace.of() == Workspace(Path("repos"))


def test_the_dataset_is_the_one_named_else_the_repository(tmp_path: Path) -> None:
    assert Workspace.of(dataset="d").dataset_folder == Path("d")
    usual = tmp_path / "flashinfer-trace"
    assert Workspace.of(target_dir=tmp_path).dataset_folder == usual
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    entry = {"path": str(elsewhere), "status": "linked"}
    data = {"target_dir": str(tmp_path), "repositories": {"flashinfer_trace": entry}}
    (tmp_path / "repos_config.json").write_text(json.dumps(data))
    assert Workspace.of(target_dir=tmp_path).dataset_folder == elsewhere


def test_nothing_is_looked_for_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_: Any) -> Registry:
        raise AssertionError

    monkeypatch.setattr("fibcore.workspace.load_plugins", never)
    workspace = Workspace.of(target_dir=tmp_path, sglang=tmp_path / "nowhere")
    assert workspace.dataset_folder == tmp_path / "flashinfer-trace"
    with pytest.raises(SourceError):
        workspace.source()


def test_a_registry_is_taken_as_it_is(op_plugins: Registry) -> None:
    assert Workspace.of(registry=op_plugins, disable_plugin=["moe"]).registry is op_plugins


def test_a_dataset_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twice"):
        fibcore.validate(tmp_path, dataset=tmp_path)
    with pytest.raises(UsageError, match="twice"):
        fibcore.clone_repos(tmp_path, target_dir=tmp_path)


def test_plugins_come_with_their_op_types(
    op_plugins: Registry, op_plugin_names: tuple[str, ...]
) -> None:
    report = plugins(registry=op_plugins)
    assert [p.name for p in report.plugins] == list(op_plugin_names)
    owners = {o.name: o.plugin for o in report.op_types}
    assert owners["gqa_ragged"] == "gqa"
    json.dumps(report.to_dict())


def test_a_broken_plugin_is_listed_with_the_reason() -> None:
    class Bad:
        def fibcore_op_types(self) -> None:
            """No hook: it lacks the mark."""

    with pytest.raises(PluginError, match="hookimpl"):
        load_plugins(extra={"bad": Bad()}, discover=False)


def test_every_public_name_can_be_had() -> None:
    assert set(fibcore.__all__) == {"__version__", *fibcore._WHERE}
    for name in fibcore.__all__:
        assert getattr(fibcore, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        fibcore.nonsense  # noqa: B018 - asking is the point


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("1,8", (1, 8)),
        (8, (8,)),
        ("8", (8,)),
        ([1, "8,16"], (1, 8, 16)),
        ("decode, prefill", ("decode", "prefill")),
        (("decode", "decode"), ("decode",)),
        (None, ()),
        ("-1", ("-1",)),
    ],
)
def test_the_api_takes_sizes_and_words_as_the_command_line_has_them(
    given: Any, wanted: tuple[Any, ...]
) -> None:
    assert listed(given) == wanted
