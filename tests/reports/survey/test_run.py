"""Surveys: which configs are used, what rows say, processes, files, and the page in a browser."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner
from waiting import wait_for

from fibcore.cli import cli
from fibcore.dataset import files
from fibcore.errors import ConfigError, DatasetError, UnknownModelError, UsageError
from fibcore.ops.registry import Registry
from fibcore.processes.connection import ClusterError
from fibcore.reports.survey import SurveyedModel, SurveyReport, examine, survey
from fibcore.reports.survey.config_classes import ClassConfig, ClassConfigs
from fibcore.reports.survey.on_cluster import _check_source, check_worker
from fibcore.reports.survey.page import page
from fibcore.reports.survey.report import family
from fibcore.reports.survey.writing import FILES, markdown
from fibcore.sources.tree import SourceTree
from fibcore.testing.shares import thorough

if TYPE_CHECKING:
    from browser import Browser
    from dask_cluster import Cluster

MODELS = {
    "configs/small.py": """
        from transformers import PretrainedConfig


        class SmallConfig(PretrainedConfig):
            model_type = "small"

            def __init__(self, num_hidden_layers=3, **kwargs):
                self.hidden_size = 32
                self.num_attention_heads = 2
                self.num_key_value_heads = 1
                self.num_hidden_layers = num_hidden_layers
                self.rms_norm_eps = 1e-6
                self.vocab_size = 64
                super().__init__(**kwargs)
        """,
    "models/small.py": """
        from sglang.srt.configs.small import SmallConfig
        from sglang.srt.models.tiny import TinyForCausalLM


        class SmallForCausalLM(TinyForCausalLM):
            def __init__(self, config: SmallConfig, quant_config=None, prefix=""):
                super().__init__(config, quant_config, prefix)


        class SmallerForCausalLM(SmallForCausalLM):
            pass


        EntryClass = [SmallForCausalLM, SmallerForCausalLM]
        """,
    "models/lone.py": """
        from torch import nn


        class LoneModel(nn.Module):
            def __init__(self, config: LoneConfig):
                super().__init__()


        EntryClass = LoneModel
        """,
}

PLUGIN = """
import os, time
from fibcore.ops.hookspecs import hookimpl
from fibcore.model.kernel import Extraction

@hookimpl
def fibcore_extract(tree, serving):
    print("noise on standard output")
    if tree.model == "sleeps":
        time.sleep(600)
    if tree.model == "dies":
        os._exit(3)
    if tree.model == "fails":
        raise RuntimeError("a defect of this plugin")
    return Extraction()
"""


@pytest.fixture
def source(tiny_source: Path) -> Path:
    """The made-up SGLang with two more model files and a config class."""
    for name, text in MODELS.items():
        path = tiny_source / "sglang" / "srt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return tiny_source


@pytest.fixture
def configs(tmp_path: Path, tiny_config: Path) -> Path:
    """A folder with two configs of the model `tiny`, and files that are no configs."""
    folder = tmp_path / "configs"
    (folder / "two-layers").mkdir(parents=True)
    shutil.copy(tiny_config, folder / "two-layers" / "config.json")
    data = json.loads(tiny_config.read_text())
    (folder / "maker--Tiny-5.json").write_text(json.dumps({**data, "num_hidden_layers": 5}))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "list.json").write_text("[1]")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "config.json").write_text("not read")
    return folder


@pytest.fixture
def run(
    source: Path, configs: Path, tmp_path: Path, plugins_but_embedding: Registry
) -> Callable[..., Any]:
    """A survey of the made-up source in this process."""

    def surveyed(**given: Any) -> SurveyReport:
        options = {
            "configs": configs,
            "registry": plugins_but_embedding,
            "output": tmp_path / "out",
        }
        return survey(sglang=str(source), **{**options, **given})

    return surveyed


def rows(report: SurveyReport) -> dict[str, SurveyedModel]:
    return {row.model: row for row in report.rows}


def test_every_architecture_has_a_row_and_says_where_its_config_is_from(
    run: Callable[..., SurveyReport], configs: Path
) -> None:
    report = run()
    assert [(r.architecture, r.file, r.model, r.origin, r.state) for r in report.rows] == [
        ("LoneModel", "lone", "LoneModel", "", "no config"),
        ("SmallerForCausalLM", "small", "SmallerForCausalLM", "class:small", "whole"),
        ("SmallForCausalLM", "small", "SmallForCausalLM", "class:small", "whole"),
        ("TinyForCausalLM", "tiny", "tiny-5", f"file:{configs}/maker--Tiny-5.json", "whole"),
        (
            *("TinyForCausalLM", "tiny", "two-layers"),
            *(f"file:{configs}/two-layers/config.json", "whole"),
        ),
    ]
    assert "no config class" in report.rows[0].reasons[0].text
    assert [(u.path, u.broken) for u in report.unused] == [(f"{configs}/list.json", False)]
    assert report.exit_code == 0


def test_a_row_says_what_the_model_needs(run: Callable[..., SurveyReport]) -> None:
    row = rows(run())["tiny-5"]
    assert row.layers == {"layers": 5}
    assert row.op_types == {
        "gemm": 2,
        "gqa_paged": 4,
        "gqa_ragged": 1,
        "page_append": 2,
        "rmsnorm": 2,
    }
    layers = {d.name: d.layers for d in row.definitions}
    assert layers["gemm_n_128_k_64"] == 5
    assert layers["gqa_ragged_prefill_causal_h4_kv2_d16"] == 5
    assert layers["append_paged_kv_cache_kv2_d16_ps64"] == 5
    assert [(o.op, o.layers) for o in row.not_covered] == [("VocabParallelEmbedding", 1)]


@thorough
def test_parallel_sizes_are_those_that_were_asked_for(run: Callable[..., SurveyReport]) -> None:
    report = run(tp=2)
    assert {r.tp for r in report.rows if r.state == "whole"} == {2}
    names = [d.name for d in rows(report)["tiny-5"].definitions]
    assert "gqa_ragged_prefill_causal_h2_kv1_d16" in names
    refused = rows(run(tp=3))["tiny-5"]
    assert refused.state == "refused"
    assert "tiny.py:" in refused.reasons[0].where
    # The defaults of a class are a config; it is the size that does not go.
    of_class = rows(run(tp=3))["SmallForCausalLM"]
    assert of_class.origin == "class:small"
    assert of_class.state == "refused"
    assert run(tp=3).exit_code == 0


def test_totals_count_architectures_by_their_worst_row(
    run: Callable[..., SurveyReport], configs: Path
) -> None:
    path = configs / "maker--Tiny-5.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "num_attention_heads": 3}))
    report = run()
    assert rows(report)["tiny-5"].state == "refused"
    assert rows(report)["two-layers"].state == "whole"
    assert report.counts == {
        "whole": 2,
        "partial": 0,
        "refused": 1,
        "failed": 0,
        "no config": 1,
        "architectures": 4,
    }
    assert report.percentages["whole"] == 66.7


def test_shared_definitions_and_wanted_ops(run: Callable[..., SurveyReport]) -> None:
    report = run()
    shared = {d.name: (d.models, d.layers) for d in report.shared_definitions}
    assert shared["gemm_n_128_k_64"] == (("tiny-5", "two-layers"), 7)
    assert shared["rmsnorm_h32"] == (("SmallerForCausalLM", "SmallForCausalLM"), 2)
    wanted = {op.name: (len(op.models), op.layers) for op in report.not_covered}
    assert wanted == {"VocabParallelEmbedding": (4, 4)}


def test_an_op_that_more_models_run_is_wanted_more() -> None:
    def row(model: str, *ops: tuple[str, int]) -> SurveyedModel:
        found = tuple(examine.MissingOp(op, layers) for op, layers in ops)
        return SurveyedModel(model, "file", model, "class:x", "whole", not_covered=found)

    report = SurveyReport("s", (row("a", ("Rare", 99), ("Often", 1)), row("b", ("Often", 1))))
    assert [o.name for o in report.not_covered] == ["Often", "Rare"]


def test_ops_that_differ_in_a_size_are_one_family() -> None:
    names = {
        "gqa_paged with sliding window 512": "gqa_paged with sliding window N",
        "gqa_paged with sliding window 4096 and logit cap 50.0": (
            "gqa_paged with sliding window N and logit cap N"
        ),
        "moe with gemm1_alpha 1.702, gemm1_clamp_limit 7.0 (a scale per 32)": (
            "moe with gemm1_alpha N, gemm1_clamp_limit N (a scale per N)"
        ),
        "ReLU2": "ReLU2",
        "Conv2d": "Conv2d",
    }
    assert {name: family(name) for name in names} == names
    ops = tuple(examine.MissingOp(f"window {size}", 2) for size in (8, 16))
    (found,) = SurveyReport(
        "s", (SurveyedModel("A", "a", "a", "", "whole", not_covered=ops),)
    ).not_covered
    assert (found.name, found.models, found.layers) == ("window N", ("a",), 4)
    assert found.variants == ("window 16", "window 8")


def test_the_catalogue_stands_in_where_no_folder_has_a_config(
    run: Callable[..., SurveyReport], source: Path, configs: Path
) -> None:
    (source / "sglang" / "srt" / "models" / "llama.py").write_text(
        "from sglang.srt.models.tiny import TinyForCausalLM\n"
        "class LlamaForCausalLM(TinyForCausalLM):\n    pass\n"
        "EntryClass = LlamaForCausalLM\n"
    )
    found = rows(run(model_name="llama"))
    assert found["llama-3.1-8b"].origin == "catalogue:llama-3.1-8b"
    assert (found["llama-3.1-70b"].tp, found["llama-3.1-8b"].tp) == (4, 1)
    assert found["llama-3.1-70b"].layers == {"layers": 80}
    assert len(found) > 3

    data = json.loads((configs / "maker--Tiny-5.json").read_text())
    mine = {**data, "architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (configs / "mine.json").write_text(json.dumps({**mine, "intermediate_size": 64}))
    assert list(rows(run(model_name="LlamaForCausalLM"))) == ["mine"]
    # A model of the catalogue that is asked for by its name, or its Hub id, is there all the same.
    assert list(rows(run(model_name="meta-llama/Llama-3.1-70B"))) == ["llama-3.1-70b"]


@thorough
def test_names_restrict_a_survey(run: Callable[..., SurveyReport]) -> None:
    def models(*names: str) -> list[str]:
        return [r.model for r in run(model_name=names).rows]

    assert models("small") == ["SmallerForCausalLM", "SmallForCausalLM"]
    assert models("SmallForCausalLM", "two-layers") == ["SmallForCausalLM", "two-layers"]
    assert models("tiny") == ["tiny-5", "two-layers"]
    with pytest.raises(UnknownModelError, match="no architecture, model file or model") as raised:
        models("smal")
    assert "small" in str(raised.value.expected)


def test_what_is_named_itself_has_to_hold_configs(source: Path, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("x = 1")
    with pytest.raises(ConfigError, match="not JSON"):
        survey(sglang=str(source), configs=tmp_path / "page.py", output=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no config in this folder"):
        survey(sglang=str(source), configs=tmp_path / "empty", output=tmp_path)
    assert not list(tmp_path.glob("survey*"))


def test_broken_and_foreign_configs_are_named(
    run: Callable[..., SurveyReport], configs: Path
) -> None:
    (configs / "broken.json").write_text('{"architectures": [')
    (configs / "foreign.json").write_text('{"architectures": ["OtherForCausalLM"]}')
    report = run()
    said = {Path(u.path).name: u for u in report.unused}
    assert said["foreign.json"].reason == "this SGLang has no OtherForCausalLM"
    assert said["broken.json"].broken
    assert report.exit_code == 1
    assert "broken.json: not JSON" in report.failures[0]


def test_wrong_options(run: Callable[..., SurveyReport], tmp_path: Path) -> None:
    for given in (
        {"jobs": 2},  # plugins as objects stay here
        {"dask": "127.0.0.1:1"},
        {"timeout_s": 0.0},
        {"jobs": 0, "registry": None},
        {"dask": "127.0.0.1:1", "jobs": 1, "registry": None},
        {"configs": tmp_path / "nowhere"},
    ):
        with pytest.raises(UsageError):
            run(**given)


def test_a_defect_is_one_failed_row_with_its_place(
    run: Callable[..., SurveyReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = examine.find_kernels

    def find_kernels(source: Any, model: Any, serving: Any, registry: Any) -> Any:
        if model.slug == "tiny-5":
            model.config.data["architectures"].no_such_attribute  # noqa: B018
        return real(source, model, serving, registry)

    monkeypatch.setattr(examine, "find_kernels", find_kernels)
    report = run()
    (reason,) = rows(report)["tiny-5"].reasons
    assert reason.kind == "exception"
    assert reason.where.startswith("fibcore/reports/survey/examine.py:")
    assert "AttributeError" in reason.text
    assert rows(report)["two-layers"].state == "whole"
    assert report.exit_code == 1


def test_the_second_run_changes_no_byte(run: Callable[..., SurveyReport], tmp_path: Path) -> None:
    run()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    assert b"seconds" not in before["survey.json"]
    run()
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before


def test_files_hold_the_report(run: Callable[..., SurveyReport], tmp_path: Path) -> None:
    report = run()
    data = json.loads((tmp_path / "out" / "survey.json").read_text())
    assert data == json.loads(json.dumps(report.to_dict()))
    text = (tmp_path / "out" / "survey.md").read_text()
    assert "| `VocabParallelEmbedding` | 4 | 4 | no installed plugin knows it |" in text
    assert "| SmallForCausalLM |  | class defaults (small) | whole | 1/1 | 3 | 2 | 4 | 1 | 2 |" in (
        text
    )
    assert "- **LoneModel** (no config)\n  - no config class" in text
    assert "| `rmsnorm_h32` | 2 | 2 | SmallerForCausalLM, SmallForCausalLM |" in text


def test_markdown_escapes_what_would_end_a_cell() -> None:
    op = examine.MissingOp("a|b\nc", 1, "x < y")
    report = SurveyReport(
        "s", (SurveyedModel("A", "a", "a", "class:x", "whole", not_covered=(op,)),)
    )
    assert "| `a\\|b c` | 1 | 1 | x &lt; y |" in markdown(report)


def test_an_old_report_stays_whole_where_the_disk_is_full(
    run: Callable[..., SurveyReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DatasetError, match="cannot write"):
        run(tp=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_reports_go_into_the_dataset_by_default(
    source: Path, tmp_path: Path, plugins_but_embedding: Registry
) -> None:
    report = survey(sglang=str(source), dataset=tmp_path / "data", registry=plugins_but_embedding)
    assert report.output == str(tmp_path / "data" / "reports")
    assert {p.name for p in (tmp_path / "data" / "reports").iterdir()} == set(FILES)
    assert rows(report)["TinyForCausalLM"].state == "no config"


def test_config_classes_by_annotation_and_base_class(source: Path) -> None:
    classes = ClassConfigs(SourceTree(source / "sglang", "0.5.9", None, "made up"))
    assert classes.find("SmallForCausalLM") == ClassConfig(("small",))
    assert classes.find("SmallerForCausalLM") == ClassConfig(("small",))
    assert "no config class" in str(classes.find("TinyForCausalLM"))


NEEDS = """
    from torch import nn
    from sglang.srt.configs.needs import {config}
    from sglang.srt.layers.layernorm import RMSNorm

    class {name}(nn.Module):
        def __init__(self, config: {config}):
            super().__init__()
            self.norm = RMSNorm(config.{key})

        def forward(self, x):
            return self.norm(x)

    EntryClass = {name}
"""
CLASSES = """
    class NeedsConfig:
        model_type = "needs"

        def __init__(self, **kwargs):
            self.width = 8
"""


@pytest.mark.parametrize(("key", "state"), [("width", "whole"), ("height", "no config")])
def test_class_defaults_that_make_no_model_are_no_config(
    source: Path, run: Callable[..., SurveyReport], key: str, state: str
) -> None:
    root = source / "sglang" / "srt"
    (root / "configs").mkdir(exist_ok=True)
    (root / "configs" / "needs.py").write_text(textwrap.dedent(CLASSES))
    model = NEEDS.format(config="NeedsConfig", name="NeedsForCausalLM", key=key)
    (root / "models" / "needs.py").write_text(textwrap.dedent(model))
    row = rows(run(model_name="NeedsForCausalLM"))["NeedsForCausalLM"]
    assert row.state == state
    if state == "no config":
        assert "height" in row.reasons[0].text
        assert "needs.py:" in row.reasons[0].where


# Processes


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin that hangs, ends its process or fails for models of certain names."""
    folder = tmp_path / "site"
    info = folder / "fibcore_odd-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "fibcore_odd.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fibcore-odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fibcore]\nodd = fibcore_odd\n")
    monkeypatch.syspath_prepend(str(folder))


def named_configs(folder: Path, config: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        shutil.copy(config, folder / f"{name}.json")
    return folder


# What is installed, without the plugin that the other surveys go without.
_IN_PROCESSES: dict[str, Any] = {"registry": None, "disable_plugin": "embedding"}


@pytest.mark.usefixtures("installed_plugins")
def test_processes_give_the_same_as_this_one(run: Callable[..., SurveyReport]) -> None:
    def facts(report: SurveyReport) -> Any:
        return [attrs.evolve(row, seconds=0.0) for row in report.rows]

    told: list[Any] = []
    report = run(**_IN_PROCESSES, jobs=2, progress=lambda *step: told.append(step))
    assert facts(report) == facts(run())
    assert told[0][0] == "looking for configs"
    assert told[1:] == [("elaborating models", done, 4) for done in range(5)]


@pytest.mark.usefixtures("plugin")
def test_a_model_that_kills_its_process_or_fails_takes_nothing_from_the_others(
    source: Path, tiny_config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="fibcore")
    configs = named_configs(tmp_path / "c", tiny_config, "dies", "fails", "good")
    report = survey(sglang=str(source), configs=configs, model_name="tiny", jobs=1, output=tmp_path)
    found = {row.model: (row.state, [r.kind for r in row.reasons]) for row in report.rows}
    assert found == {
        "dies": ("failed", ["process"]),
        "fails": ("failed", ["plugin"]),
        "good": ("whole", []),
    }
    assert "exit status 3" in rows(report)["dies"].reasons[0].text
    assert "a defect of this plugin" in rows(report)["fails"].reasons[0].text
    assert report.exit_code == 1
    assert len(report.failures) == 2
    assert caplog.text.count("Traceback (most recent call last)") == 1  # out of its process
    assert "fibcore_odd.py" in caplog.text


@pytest.mark.usefixtures("plugin")
def test_a_model_that_hangs_is_given_up(source: Path, tiny_config: Path, tmp_path: Path) -> None:
    configs = named_configs(tmp_path / "c", tiny_config, "sleeps")
    report = survey(
        sglang=str(source), configs=configs, model_name="tiny", timeout_s=1.5, output=tmp_path
    )
    (row,) = report.rows
    assert (row.state, row.reasons[0].kind) == ("failed", "timeout")
    assert row.reasons[0].text == "it took longer than 1.5 s and was ended"
    assert report.exit_code == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
@pytest.mark.usefixtures("plugin")
def test_an_interrupt_ends_the_processes_and_keeps_the_old_report(
    source: Path, tiny_config: Path, tmp_path: Path
) -> None:
    configs = named_configs(tmp_path / "c", tiny_config, "sleeps")
    output = tmp_path / "out"
    output.mkdir()
    (output / "survey.json").write_text("old")
    code = f"import sys; sys.path[:] = {sys.path!r}; from fibcore.cli import main; main()"
    command = [
        *(sys.executable, "-c", code, "survey", "--sglang", str(source), "--model-name", "tiny"),
        *("--configs", str(configs), "--output", str(output), "--jobs", "1"),
    ]
    child = subprocess.Popen(  # noqa: S603 - our own command line
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    while "elaborating" not in child.stderr.readline():
        pass
    workers = _children(child.pid)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Interrupted." in said
    assert "Traceback" not in said
    assert [p.name for p in output.iterdir()] == ["survey.json"]
    assert (output / "survey.json").read_text() == "old"
    # One that was being started when the interrupt came ends when it finds its parent gone.
    wait_for(lambda: not any(map(_runs, workers)), "the end of the workers")


@thorough
@pytest.mark.usefixtures("installed_plugins")
def test_a_dask_cluster_gives_the_same(
    run: Callable[..., SurveyReport], tmp_path: Path, dask_cluster: Cluster
) -> None:
    report = run(**_IN_PROCESSES, dask=dask_cluster.address)
    assert page(report) == page(run())
    with pytest.raises(ClusterError, match="cannot read the SGLang source"):
        _check_source({"one": check_worker(str(tmp_path), "1"), "two": None}, dask_cluster.address)


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        return []
    for _ in range(200):
        found = [int(p) for p in path.read_text().split()]
        if found:
            return found
        time.sleep(0.02)
    return []


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # ended, and not yet waited for


# The command line


def test_the_command_prints_rows_and_totals(
    source: Path, configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fibcore.reports.survey.survey", lambda **given: run(**_known(given)))
    options = ["survey", "--sglang", str(source), "--configs", str(configs), "--output", "here"]
    result = CliRunner().invoke(cli, options)
    assert result.exit_code == 0, result.output
    assert "tiny-5" in result.stdout
    assert "VocabParallelEmbedding   4       4" in result.stdout
    assert (
        "4 architectures: 3 whole (100 %), 0 partial (0 %), 0 refused (0 %), 0 failed (0 %), "
        "1 no config;"
    ) in result.stdout.splitlines()[-1]
    assert {p.name for p in (tmp_path / "here").iterdir()} == set(FILES)

    (configs / "broken.json").write_text("{")
    result = CliRunner().invoke(cli, [*options, "--json"])
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["counts"]["whole"] == 3
    assert set(data["timings"]["models"]) == {r["model"] for r in data["rows"]} - {"LoneModel"}
    assert "broken.json: not JSON" in result.stderr


def _known(given: dict[str, Any]) -> dict[str, Any]:
    """Options of the command line for the fixture `run`, which has its own source and plugins."""
    return {k: v for k, v in given.items() if k in ("configs", "output", "tp", "ep", "progress")}


# The page


@pytest.fixture
def made_page(run: Callable[..., SurveyReport], configs: Path, tmp_path: Path) -> Path:
    data = json.loads((configs / "maker--Tiny-5.json").read_text())
    (configs / "odd.json").write_text(json.dumps({**data, "num_attention_heads": 3}))
    run()
    return tmp_path / "out" / "survey.html"


def test_the_page_needs_nothing_from_elsewhere(made_page: Path) -> None:
    text = made_page.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_hostile_names_are_text() -> None:
    bad = "<script>alert(1)</script>"
    row = SurveyedModel(
        *(bad, bad, bad, f"file:{bad}", "partial"),
        reasons=(examine.Reason("missing", bad, bad),),
        not_covered=(examine.MissingOp(bad, 1, bad),),
        definitions=(examine.NeededDefinition(bad, bad, 1),),
    )
    report = SurveyReport(bad, (row, attrs.evolve(row, model="other")))
    assert "<script>alert" not in page(report)


def test_an_empty_survey_is_a_page() -> None:
    text = page(SurveyReport("sglang 1", ()))
    assert "Every op of every model has a definition." in text
    assert "0 architectures" in text


def test_nothing_is_cut_off_at_any_width(browser: Browser, made_page: Path) -> None:
    assert browser.layout_faults(made_page) == []
    browser.look(width=1280, height=900)


def test_models_are_sorted_filtered_and_opened(browser: Browser, made_page: Path) -> None:
    browser.open(made_page)
    names = "#table-models .summary th .toggle"

    def shown(column: int = 1) -> list[str]:
        return browser.shown(f"#table-models .summary > :nth-child({column})")

    assert len(shown()) == 6
    header = '#table-models th[data-key="layers"] button'
    browser.find(header).click()
    assert shown(4) == ["2", "3", "3", "5", "", ""]
    browser.find(header).click()
    assert shown(4) == ["5", "3", "3", "2", "", ""]
    browser.choose('[data-table="models"] select[data-key="state"]', "refused")
    assert shown() == ["TinyForCausalLM · odd"]
    row = next(e for e in browser.all(names) if e.is_displayed())
    row.click()
    (detail,) = browser.shown("#table-models tr.detail div.detail")
    assert "Why it is not whole" in detail
    browser.choose('[data-table="models"] select[data-key="state"]', "")
    browser.choose('[data-table="models"] select[data-key="op-types"]', "rmsnorm")
    assert len(shown()) == 4
    browser.type('[data-table="models"] input[type="search"]', "two-layers")
    assert shown() == ["TinyForCausalLM · two-layers"]
    assert browser.log() == []


def test_the_picture_shows_op_types_and_what_is_not_covered(
    browser: Browser, made_page: Path
) -> None:
    browser.open(made_page)
    columns = browser.shown("#table-picture thead th")
    assert columns == [
        *("Model", "gemm", "gqa_paged", "gqa_ragged", "page_append", "rmsnorm"),
        "VocabParallelEmbedding",
    ]
    good = browser.all("#table-picture td.good")
    warn = browser.all("#table-picture td.warn")
    assert (len(good), len(warn)) == (20, 4)
    link = browser.find("#table-picture tbody th a")
    assert link.get_attribute("href").rpartition("#")[2] == browser.run(
        "return [...document.querySelectorAll('#table-models tbody.item')]"
        ".find(t => t.textContent.includes(arguments[0])).id",
        link.text,
    )
