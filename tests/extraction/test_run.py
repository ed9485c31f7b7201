"""Extraction over made-up trees and a made-up plugin: what is merged, refused, written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.configs.catalogue import ResolvedModel
from fibcore.configs.model_config import ModelConfig
from fibcore.errors import (
    ConfigError,
    DatasetError,
    PluginError,
    ServingError,
    SourceError,
    UnknownModelError,
    UsageError,
)
from fibcore.extraction.report import ExtractReport
from fibcore.extraction.run import extract
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Extraction, Kernel, KernelCollector, fact
from fibcore.model.serving import Serving
from fibcore.model.tree import Missing, ModelTree, SourcePlace
from fibcore.ops.hookspecs import OpType, hookimpl
from fibcore.ops.registry import Registry, load_plugins
from fibcore.testing.trees import module, tree

CONFIG = {
    "architectures": ["ToyForCausalLM"],
    "model_type": "toy",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 16,
}

REFERENCE = "def run(x):\n    assert x.shape[1] == {size}\n    return x * {scale}\n"


class Toy:
    """A plugin for the op type `toy`: one kernel per width of the `Toy` leaves."""

    def __init__(self, op_type: str = "toy", cls: str = "Toy") -> None:
        self.op_type = op_type
        self.cls = cls

    @hookimpl
    def fibcore_op_types(self) -> list[OpType]:
        return [OpType(self.op_type, "something for tests")]

    @hookimpl
    def fibcore_extract(self, tree: ModelTree, serving: Serving) -> Extraction:
        collector = KernelCollector(lenient=("scale",))
        for node in tree.walk():
            if not node.is_a(self.cls):
                continue
            width = node.argument("width")
            if width is None:
                collector.problem("width of a toy", "its argument is unknown", node)
                continue
            if width % serving.tp:
                raise ServingError("the width cannot be split", found=f"{width} / {serving.tp}")
            if width == 13:
                collector.not_covered("toy of width 13", "nobody wants it", node)
                continue
            size = width // serving.tp
            collector.add(
                Kernel(
                    self.op_type,
                    f"{self.op_type}_h{size}",
                    {"size": size, "scale": node.argument("scale", 2)},
                    {
                        "size": fact(size, node, "width / tp"),
                        "scale": fact(node.argument("scale", 2), node),
                    },
                    (),
                    tags=(f"tp:{serving.tp}",),
                ),
                node,
            )
        return collector.finish()

    @hookimpl
    def fibcore_reference(self, kernel: Kernel) -> Definition | None:
        if kernel.op_type != self.op_type:
            return None
        size = kernel.parameters["size"]
        return Definition(
            kernel.name,
            kernel.op_type,
            {"n": var(), "size": const(int(size))},
            {"x": tensor("n size", "float32")},
            {"y": tensor("n size", "float32")},
            REFERENCE.format(size=size, scale=kernel.parameters["scale"]),
            tags=kernel.tags,
        )


class Broken:
    """A plugin that fails on every model."""

    @hookimpl
    def fibcore_op_types(self) -> list[OpType]:
        return [OpType("broken", "fails")]

    @hookimpl
    def fibcore_extract(self, tree: ModelTree, serving: Serving) -> Extraction:
        raise RuntimeError(f"no luck with {tree.model} at {serving.tp}")


def toy(path: str, width: int | None = 8, **arguments: Any) -> Any:
    return module(path, "sglang.srt.layers.toy.Toy", {"width": width, **arguments})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that passes for SGLang's source."""
    folder = tmp_path / "repos" / "sglang" / "python" / "sglang"
    (folder / "srt" / "models").mkdir(parents=True)
    (folder / "version.py").write_text('__version__ = "0.0.1"\n')
    return folder


@pytest.fixture
def run(
    source: Path,  # noqa: ARG001 - has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., ExtractReport]:
    """Extraction of hand-written trees: `run({name: modules}, **options)`."""

    def extraction(
        models: dict[str, Iterable[Any]] | None = None,
        *,
        plugins: dict[str, object] | None = None,
        missing: tuple[Missing, ...] = (),
        names: tuple[str, ...] | None = None,
        **options: Any,
    ) -> ExtractReport:
        trees = {"toy": [toy("model.a")]} if models is None else models

        def elaborate(_: object, config: ModelConfig, __: Serving, **___: object) -> ModelTree:
            made = tree(*trees[config.slug], model=config.slug, architecture="ToyForCausalLM")
            return attrs.evolve(made, missing=missing)

        def resolve_model(name: str, **_: object) -> ResolvedModel:
            if name not in trees:
                raise UnknownModelError("no such model", where=name)
            config = ModelConfig(name, None, CONFIG, "given")
            return ResolvedModel(name, config, (1,), (1,), "ToyForCausalLM")

        monkeypatch.setattr("fibcore.elaborate.elaborate", elaborate)
        monkeypatch.setattr("fibcore.configs.catalogue.resolve_model", resolve_model)
        return extract(
            names or tuple(trees),
            target_dir=tmp_path / "repos",
            registry=load_plugins(extra=plugins or {"toy": Toy()}, discover=False),
            **options,
        )

    return extraction


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that is not a lock, with its content."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


def definition(folder: Path, name: str) -> Any:
    return json.loads((folder / "definitions" / "toy" / f"{name}.json").read_text())


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The dataset's default folder."""
    return tmp_path / "repos" / "flashinfer-trace"


def test_a_model_gives_definitions_with_tags_and_provenance(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    report = run({"m": [toy("model.a"), toy("model.b"), toy("model.c", 16)]})
    assert report.exit_code == 0
    assert report.outcomes == {"toy_h8": "new", "toy_h16": "new"}
    (model,) = report.models
    found = {k.name: (k.op_type, k.layers, k.outcome) for k in model.kernels}
    assert found == {"toy_h8": ("toy", 2, "new"), "toy_h16": ("toy", 1, "new")}
    assert definition(trace, "toy_h8")["tags"] == ["model:m", "status:unverified", "tp:1"]
    proof = json.loads((trace / "reports/provenance/toy_h8.json").read_text())
    assert proof["models"]["m"]["tp1-ep1"]["constants"]["size"]["value"] == 8
    assert model.constants == "given"
    assert "0.0.1" in model.source


def test_models_share_a_kernel_once(run: Callable[..., ExtractReport], trace: Path) -> None:
    report = run({"one": [toy("a")], "two": [toy("b"), toy("c", 16)]})
    assert report.definitions == {"toy_h8": ("one", "two"), "toy_h16": ("two",)}
    assert report.outcomes["toy_h8"] == "new"
    tags = definition(trace, "toy_h8")["tags"]
    assert {"model:one", "model:two"} <= set(tags)
    proof = json.loads((trace / "reports/provenance/toy_h8.json").read_text())
    assert set(proof["models"]) == {"one", "two"}


def test_models_one_by_one_end_as_one_run_of_all_does(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    models = {"two": [toy("b"), toy("c", 16)], "one": [toy("a")], "three": [toy("d", 16)]}
    whole = run(models)
    at_once = {p: p.read_bytes() for p in trace.rglob("*") if p.is_file()}
    shutil.rmtree(trace)
    single = [run({name: kernels}) for name, kernels in models.items()]
    assert {p: p.read_bytes() for p in trace.rglob("*") if p.is_file()} == at_once
    assert whole.shared == {"toy_h8": ("one", "two"), "toy_h16": ("three", "two")}
    assert [report.shared for report in single] == [
        {},
        {"toy_h8": ("one", "two")},
        {"toy_h16": ("three", "two")},
    ]
    assert single[1].to_dict()["shared"] == {"toy_h8": ["one", "two"]}
    assert single[1].definitions == {"toy_h8": ("one",)}


def test_models_that_differ_in_an_epsilon_share_the_definition_and_it_is_said(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    models = {"one": [toy("a", scale=2)], "two": [toy("b", scale=3)]}
    dry = run(models, dry_run=True)
    assert dry.models[1].kernels[0].notes == ("scale is 3; the definition has 2, from one",)
    report = run(models)
    assert "* 2" in definition(trace, "toy_h8")["reference"]
    for model in report.models:
        assert model.kernels[0].notes == ("scale is 2 for one, 3 for two",)
    assert report.exit_code == 0


def test_a_second_run_changes_no_byte(run: Callable[..., ExtractReport], trace: Path) -> None:
    models = {"one": [toy("a")], "two": [toy("b"), toy("c", 16)]}
    run(models)
    before = files(trace)
    report = run(models)
    assert files(trace) == before
    assert set(report.outcomes.values()) == {"unchanged"}


def test_a_later_model_adds_its_tag(run: Callable[..., ExtractReport], trace: Path) -> None:
    run({"one": [toy("a")]})
    report = run({"two": [toy("b")]})
    assert report.outcomes == {"toy_h8": "merged"}
    assert {"model:one", "model:two"} <= set(definition(trace, "toy_h8")["tags"])


def test_dry_run_says_the_same_and_writes_nothing(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    models = {"one": [toy("a")], "two": [toy("b"), toy("c", 16)]}
    dry = run(models, dry_run=True)
    assert not trace.exists()
    assert dry.outcomes == run(models).outcomes
    assert dry.dry_run


def test_a_kernel_that_the_dataset_has_under_another_name_is_not_added_twice(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    run()
    path = trace / "definitions/toy/toy_h8.json"
    data = json.loads(path.read_text()) | {"name": "toy8"}
    path.unlink()
    (path.parent / "toy8.json").write_text(json.dumps(data))
    report = run()
    (kernel,) = report.models[0].kernels
    assert (kernel.kernel, kernel.name) == ("toy_h8", "toy8")
    assert kernel.outcome == "same-kernel-other-name"
    assert not path.exists()


def test_another_kernel_of_the_same_name_is_a_conflict(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    run()
    path = trace / "definitions/toy/toy_h8.json"
    data = json.loads(path.read_text())
    data["axes"]["extra"] = {"type": "const", "value": 3}
    path.write_text(json.dumps(data))
    report = run()
    assert report.outcomes == {"toy_h8_v2": "conflict"}
    assert report.conflicts
    assert "axes.extra" in report.conflicts[0]
    assert (trace / "reports/conflicts.md").exists()
    assert (trace / "reports/conflicts.json").exists()


def test_a_broken_dataset_file_is_named_and_the_rest_goes_on(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    bad = trace / "definitions/toy/bad.json"
    bad.parent.mkdir(parents=True)
    bad.write_text('{"name": "bad",')
    report = run()
    assert report.outcomes == {"toy_h8": "new"}
    assert report.exit_code == 1
    assert "definitions/toy/bad.json" in str(report.errors[0])
    assert "line 1" in str(report.errors[0])
    assert bad.read_text() == '{"name": "bad",'


def test_a_broken_file_in_the_way_takes_nothing_else_along(
    run: Callable[..., ExtractReport], trace: Path
) -> None:
    bad = trace / "definitions/toy/toy_h8.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("nonsense")
    report = run({"m": [toy("a"), toy("b", 16)]})
    assert report.outcomes == {"toy_h16": "new"}
    assert report.exit_code == 1
    assert len(report.errors) == 1
    outcome = {k.kernel: k.outcome for k in report.models[0].kernels}
    assert outcome == {"toy_h8": "not written", "toy_h16": "new"}


def test_every_combination_is_extracted_and_impossible_ones_are_refused(
    run: Callable[..., ExtractReport],
) -> None:
    report = run({"m": [toy("a", 8)]}, tp=(1, 2, 3), ep=1)
    assert [(m.tp, m.ep) for m in report.models] == [(1, 1), (2, 1)]
    (refused,) = report.refused
    assert (refused.tp, refused.ep) == (3, 1)
    assert "8 / 3" in str(refused.error)
    assert report.exit_code == 1
    assert any("TP 3" in line for line in report.failures)
    assert set(report.outcomes) == {"toy_h8", "toy_h4"}


def test_experts_cannot_be_spread_over_more_ranks_than_there_are(
    run: Callable[..., ExtractReport],
) -> None:
    report = run(tp=(1, 8), ep=(1, 8))
    assert [(m.tp, m.ep) for m in report.models] == [(1, 1), (8, 1), (8, 8)]
    assert [(r.tp, r.ep) for r in report.refused] == [(1, 8)]
    assert report.exit_code == 1


def test_one_model_at_one_impossible_size_is_an_error(run: Callable[..., ExtractReport]) -> None:
    with pytest.raises(ServingError, match="8 / 3"):
        run(tp=3, ep=1)


def test_an_unknown_model_is_an_error_alone_and_refused_among_others(
    run: Callable[..., ExtractReport],
) -> None:
    with pytest.raises(UnknownModelError):
        run(names=("nonsense",))
    report = run(names=("toy", "nonsense"))
    assert report.outcomes == {"toy_h8": "new"}
    assert report.exit_code == 1
    assert [r.name for r in report.refused] == ["nonsense"]


def test_a_plugin_that_raises_is_named_and_the_others_go_on(
    run: Callable[..., ExtractReport],
) -> None:
    report = run(plugins={"toy": Toy(), "broken": Broken()})
    assert report.outcomes == {"toy_h8": "new"}
    assert report.exit_code == 1
    (error,) = report.models[0].errors
    for word in ("plugin broken", "fibcore_extract", "model toy", "no luck"):
        assert word in str(error)


def test_missing_parts_and_problems_make_the_result_partial(
    run: Callable[..., ExtractReport],
) -> None:
    gone = Missing("model.head", "a value was unknown", SourcePlace("sglang/x.py", 3))
    report = run(missing=(gone,))
    assert report.exit_code == 1
    assert report.models[0].missing[0].what == "model.head"
    assert "sglang/x.py:3" in report.models[0].missing[0].reason
    assert report.failures == ("toy (TP 1, EP 1) is partial: 1 missing from the model tree",)

    report = run({"m": [toy("model.x", None), toy("model.y")]})
    assert report.exit_code == 1
    (problem,) = report.models[0].problems
    assert problem.paths == ("model.x",)
    assert [k.name for k in report.models[0].kernels] == ["toy_h8"]


def test_what_has_no_definition_is_reported_and_no_failure(
    run: Callable[..., ExtractReport],
) -> None:
    other = [module(f"layers.{i}.rope", "sglang.srt.layers.rope.Rope") for i in range(3)]
    report = run({"m": [toy("a", 13), toy("b"), *other]})
    (model,) = report.models
    assert [n.what for n in model.not_covered] == ["toy of width 13"]
    assert model.unclaimed == {"Rope": 3}
    assert report.exit_code == 0


def test_op_type_keeps_other_plugins_out_of_the_result(
    run: Callable[..., ExtractReport],
) -> None:
    plugins = {"toy": Toy(), "other": Toy("other", "Other")}
    models = {"m": [toy("a"), module("b", "x.Other", {"width": 4}), toy("c", 13)]}
    assert set(run(models, plugins=plugins).outcomes) == {"toy_h8", "other_h4"}
    report = run(models, plugins=plugins, op_type="other", dry_run=True)
    assert set(report.outcomes) == {"other_h4"}
    assert not report.models[0].not_covered
    assert not report.models[0].unclaimed


def test_an_unknown_op_type_names_the_nearest(run: Callable[..., ExtractReport]) -> None:
    with pytest.raises(UsageError, match="toy") as caught:
        run(op_type="toyy")
    assert caught.value.exit_code == 2


def test_one_config_does_not_serve_several_models(run: Callable[..., ExtractReport]) -> None:
    with pytest.raises(UsageError, match="several models"):
        run({"a": [], "b": []}, config=CONFIG)
    with pytest.raises(UsageError, match="exclude"):
        run(config=CONFIG, hf_repo_id="a/b")


def test_without_a_source_the_error_says_how_to_get_one(
    tmp_path: Path, op_plugins: Registry
) -> None:
    with pytest.raises(SourceError, match="clone-repos"):
        extract("llama", target_dir=tmp_path, registry=op_plugins)


def test_without_plugins_nothing_seems_well(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"fibcore\[ops\]"):
        extract("llama", target_dir=tmp_path, registry=load_plugins(discover=False))


def test_a_dataset_that_cannot_be_written_is_a_clear_error(
    run: Callable[..., ExtractReport], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DatasetError, match="folder"):
        run(dataset=file)


def test_the_report_is_plain_data(run: Callable[..., ExtractReport]) -> None:
    report = run({"m": [toy("a"), toy("b", 13), toy("c", None)]}, tp=(1, 2), ep=1)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["exit_code"] == 1
    assert data["models"][0]["kernels"][0]["name"] == "toy_h8"
    assert data["definitions"]["toy_h8"] == {"outcome": "new", "models": ["m"]}


@pytest.mark.usefixtures("source")
def test_a_given_config_is_checked(tmp_path: Path, op_plugins: Registry) -> None:
    with pytest.raises(ConfigError, match="hidden_size"):
        extract(
            "mine",
            target_dir=tmp_path / "repos",
            config={**CONFIG, "hidden_size": "64"},
            registry=op_plugins,
        )
