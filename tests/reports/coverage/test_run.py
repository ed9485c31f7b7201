"""Coverage: what models need, what the dataset has of it, the pages, and checks of other pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.cli import cli
from fibcore.dataset import Dataset
from fibcore.errors import SourceError, UsageError
from fibcore.ops.registry import Registry
from fibcore.reports.coverage import CoverageReport

if TYPE_CHECKING:
    from browser import Browser

DATA = Path(__file__).parents[2] / "data"
DECODE = "gqa_paged_decode_h4_kv2_d16_ps1"
NORM = "rmsnorm_h64"

Cover = Callable[..., CoverageReport]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, op_plugins: Registry) -> Path:
    root = tmp_path_factory.mktemp("made") / "my-dataset"
    fibcore.extract(
        "tiny",
        config=DATA / "tiny_config.json",
        sglang=str(DATA),
        dataset=root,
        registry=op_plugins,
    )
    return root


@pytest.fixture
def dataset(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "my-dataset"))


@pytest.fixture
def cover(dataset: Path, op_plugins: Registry) -> Cover:
    """Coverage of the made-up model."""

    def covered(**options: Any) -> CoverageReport:
        options = {"config": DATA / "tiny_config.json", "model_name": "tiny", **options}
        return fibcore.coverage(dataset=dataset, sglang=str(DATA), registry=op_plugins, **options)

    return covered


def needs(report: CoverageReport) -> dict[str, Any]:
    return {need.kernel: need for model in report.models for need in model.needs}


def remove(dataset: Path, name: str) -> None:
    next((dataset / "definitions").rglob(f"{name}.json")).unlink()


# What is there, and what adds the rest.


def test_everything_that_was_extracted_is_there(cover: Cover, dataset: Path) -> None:
    report = cover()
    assert report.exit_code == 0
    names = {d.name for d in Dataset(dataset).read().definitions}
    assert {need.definition for need in needs(report).values()} == names
    assert report.counts["needed"] == report.counts["definition"] == len(names)
    assert report.counts["verified"] == 0
    assert report.models[0].servings == ("TP 1, EP 1",)
    assert report.unneeded == {}
    norm = needs(report)[NORM]
    assert norm.constants["hidden_size"].value == 64
    assert "config:hidden_size" in norm.constants["hidden_size"].source
    assert norm.where.startswith("sglang/srt/models/tiny.py:")


def test_a_missing_definition_has_the_command_that_adds_it(cover: Cover, dataset: Path) -> None:
    remove(dataset, DECODE)
    need = needs(cover())[DECODE]
    assert need.definition is None
    assert need.missing == ("definition", "verified", "workloads", "baseline", "benchmarks")
    first, *others = need.commands
    assert first.startswith("fibcore extract-kernel-definitions --model-name tiny --config ")
    # It is a command line that works, and that adds this definition.
    words = first.split()[1:]
    done = CliRunner().invoke(cli, [*words, "-q"], prog_name="fibcore")
    assert done.exit_code == 0, done.output
    assert needs(cover())[DECODE].definition == DECODE
    assert [c.split()[1] for c in others] == [
        *("add-reference-tests", "verify", "add-workloads", "add-solutions", "run")
    ]
    assert all(f" {DECODE}" in command for command in others)


def test_a_definition_counts_under_another_name(cover: Cover, dataset: Path) -> None:
    kept = Dataset(dataset).get(NORM)
    assert kept is not None
    remove(dataset, NORM)
    renamed = attrs.evolve(kept, name="norm_of_64")
    (dataset / "definitions/rmsnorm/norm_of_64.json").write_text(renamed.to_json())
    need = needs(cover())[NORM]
    assert need.definition == "norm_of_64"
    assert need.have["definition"]
    assert "norm_of_64" in " ".join(need.notes)


def test_another_function_on_equal_tensors_does_not_count(
    cover: Cover, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Dataset(dataset).get(NORM)
    assert kept is not None
    remove(dataset, NORM)
    renamed = attrs.evolve(kept, name="norm_of_64")
    (dataset / "definitions/rmsnorm/norm_of_64.json").write_text(renamed.to_json())
    monkeypatch.setattr(Registry, "variant", lambda _, definition: definition.name)
    assert needs(cover())[NORM].definition is None


def test_another_kernel_of_the_name_does_not_count(cover: Cover, dataset: Path) -> None:
    path = dataset / f"definitions/rmsnorm/{NORM}.json"
    data = json.loads(path.read_text())
    data["axes"]["hidden_size"]["value"] = 65
    path.write_text(json.dumps(data))
    report = cover()
    assert needs(report)[NORM].definition is None
    assert "another kernel" in " ".join(needs(report)[NORM].notes)
    assert report.unneeded == {NORM: ("tiny",)}


def test_what_there_is_of_a_definition(cover: Cover, dataset: Path) -> None:
    Dataset(dataset).set_status(NORM, True)
    for path, text in {
        "tests/references/test_rmsnorm.py": f'TABLE = {{"{NORM}": 1}}',
        f"workloads/rmsnorm/{NORM}.jsonl": json.dumps(
            {"definition": NORM, "workload": {"axes": {}, "inputs": {}, "uuid": "w"}}
        ),
        f"solutions/flashinfer/rmsnorm/{NORM}/s.json": json.dumps(
            {
                "name": "s",
                "definition": NORM,
                "author": "flashinfer",
                "spec": {"language": "python"},
                "sources": [],
            }
        ),
        f"traces/rmsnorm/{NORM}.jsonl": json.dumps(
            {
                "definition": NORM,
                "solution": "s",
                "workload": {"axes": {}, "inputs": {}, "uuid": "w"},
                "evaluation": {"status": "PASSED", "environment": {"hardware": "H200"}},
            }
        ),
    }.items():
        (dataset / path).parent.mkdir(parents=True, exist_ok=True)
        (dataset / path).write_text(text)
    need = needs(cover())[NORM]
    assert need.missing == ()
    assert need.commands == ()
    assert need.tested
    (dataset / f"solutions/flashinfer/rmsnorm/{NORM}/s.json").unlink()
    assert needs(cover())[NORM].missing == ("baseline",)


def test_recorded_servings_are_looked_at_too(cover: Cover, dataset: Path, op_plugins: Any) -> None:
    fibcore.extract(
        "tiny",
        config=DATA / "tiny_config.json",
        sglang=str(DATA),
        dataset=dataset,
        registry=op_plugins,
        tp=2,
        page_size=16,
    )
    report = cover()
    assert report.models[0].servings == ("TP 1, EP 1", "TP 2, EP 1")
    assert needs(report)["gqa_paged_decode_h2_kv1_d16_ps16"].definition is not None
    assert report.unneeded == {}
    only = cover(tp=2)
    assert only.models[0].servings == ("TP 2, EP 1",)
    assert DECODE in only.unneeded


def test_ops_without_a_plugin_are_listed_with_their_layers(
    dataset: Path, plugins_but_embedding: Registry
) -> None:
    report = fibcore.coverage(
        "tiny",
        dataset=dataset,
        sglang=str(DATA),
        config=DATA / "tiny_config.json",
        registry=plugins_but_embedding,
    )
    ops = {op.what: op.layers for op in report.models[0].uncovered}
    assert ops
    assert all(layers > 0 for layers in ops.values())


def test_a_model_that_cannot_be_extracted_is_what_the_dataset_records(
    cover: Cover, dataset: Path
) -> None:
    report = cover(model_name=(), config=None)  # the tag `tiny` is in no catalogue
    assert report.exit_code == 1
    assert "tiny" in report.failures[0]
    (model,) = report.models
    assert model.recorded
    assert {need.definition for need in model.needs} == {
        d.name for d in Dataset(dataset).read().definitions
    }
    assert needs(report)[NORM].layers > 0


def test_a_broken_file_makes_the_exit_status(cover: Cover, dataset: Path) -> None:
    (dataset / "definitions/rmsnorm/broken.json").write_text("{")
    report = cover()
    assert report.exit_code == 1
    assert "broken.json" in report.failures[0]


def test_no_model_to_look_at(tmp_path: Path, op_plugins: Registry) -> None:
    with pytest.raises(UsageError, match="no model to look at"):
        fibcore.coverage(dataset=tmp_path, sglang=str(DATA), registry=op_plugins)
    with pytest.raises(SourceError, match="cannot read the page"):
        fibcore.coverage(
            check=tmp_path / "no.md", dataset=tmp_path, sglang=str(DATA), registry=op_plugins
        )


def test_an_empty_dataset_covers_nothing(tmp_path: Path, op_plugins: Registry) -> None:
    report = fibcore.coverage(
        "tiny",
        config=DATA / "tiny_config.json",
        dataset=tmp_path / "none",
        sglang=str(DATA),
        registry=op_plugins,
        dry_run=True,
    )
    assert report.counts["definition"] == 0 < report.counts["needed"]
    assert not (tmp_path / "none").exists()


# The pages.


def test_three_pages_and_the_same_bytes_again(cover: Cover, dataset: Path) -> None:
    first = cover()
    assert [p.name for p in first.changed] == ["coverage.md", "coverage.html", "coverage.json"]
    text = (dataset / "reports/coverage.md").read_text()
    assert f"| rmsnorm | `{NORM}` |" in text
    assert "fibcore verify --definition-name" in text
    assert not any(line != line.rstrip() for line in text.splitlines())
    data = json.loads((dataset / "reports/coverage.json").read_text())
    assert data["counts"] == first.counts
    assert cover().changed == ()


def test_output_elsewhere_and_dry_run(cover: Cover, dataset: Path, tmp_path: Path) -> None:
    assert cover(dry_run=True).written == ()
    report = cover(output=tmp_path / "pages")
    assert (tmp_path / "pages/coverage.html") in report.written
    assert not (dataset / "reports/coverage.html").exists()


def test_nothing_is_cut_off_at_any_width(cover: Cover, dataset: Path, browser: Browser) -> None:
    cover()
    assert browser.layout_faults(dataset / "reports/coverage.html") == []


def test_the_page_in_a_browser(cover: Cover, dataset: Path, browser: Browser) -> None:
    remove(dataset, DECODE)
    cover()
    browser.look(width=1280, height=900)
    browser.open(dataset / "reports/coverage.html")
    rows = "#table-needs .item:not([hidden]) button.toggle"
    everything = browser.shown(rows)
    browser.choose("#needs [data-key=state]", "missing")
    assert browser.shown(rows) == [DECODE]
    browser.find("#table-needs .item:not([hidden]) button.toggle").click()
    text = browser.find("#table-needs .item.open div.detail").text
    assert "fibcore extract-kernel-definitions --model-name tiny" in text
    assert "config:num_key_value_heads" in text
    browser.find("#needs .controls .reset").click()
    assert browser.shown(rows) == everything
    browser.find("#table-matrix td a").click()
    browser.wait("location.hash.includes('needs.op-type')")
    assert 0 < len(browser.shown(rows)) < len(everything)
    assert browser.log() == []


# Pages that people keep.


@pytest.fixture
def check(cover: Cover, tmp_path: Path) -> Callable[[str], list[tuple[int, str, str]]]:
    """What is wrong with a page: (line, kind, what it says and what is derived)."""

    def checked(text: str) -> list[tuple[int, str, str]]:
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        report = cover(check=page)
        assert report.written == ()
        assert report.exit_code == (1 if report.contradictions else 0)
        return [(c.line, c.kind, f"{c.says} -> {c.derived}") for c in report.contradictions]

    return checked


def listed(dataset: Path) -> str:
    names = [d.name for d in Dataset(dataset).read().definitions]
    return "\n".join(f"- `{name}`" for name in names)


def test_a_page_that_is_right(check: Any, dataset: Path) -> None:
    assert check(f"# Tiny\n\n2 layers, 4 query heads, 2 KV heads\n\n{listed(dataset)}\n") == []


def test_wrong_head_counts_name_the_nearest_right_kernel(check: Any, dataset: Path) -> None:
    text = f"# Tiny\n\n{listed(dataset)}\n- `gqa_paged_decode_h4_kv128_d16_ps1`\n"
    ((line, kind, words),) = check(text)
    assert line == len(text.splitlines())
    assert kind == "not needed"
    assert f"the nearest that it needs is {DECODE} (kv 2, not 128)" in words


def test_wrong_sizes_of_a_model(check: Any) -> None:
    text = (
        "| Model | Layers | Hidden size | KV heads | `num_attention_heads` |\n"
        "|---|---|---|---|---|\n"
        "| tiny | 3 | 64 | 128 | 4 |\n"
    )
    found = check(text)
    assert [(line, kind) for line, kind, _ in found] == [(3, "size")] * 2
    words = " ".join(w for _, _, w in found)
    assert "Layers 3 -> num_hidden_layers = 2" in words
    assert "KV heads 128 -> num_key_value_heads = 2" in words


def test_sizes_in_sentences_and_two_column_tables(check: Any) -> None:
    found = check(
        "## Tiny\n\nIt has 7 layers and 2 KV heads.\n\n| Parameter | Value |\n|---|---|\n"
        "| KV heads | 16 |\n| hidden_size | 64 |\n\n- head_dim: 99\n"
    )
    assert [(line, w.split(" ->")[0]) for line, _, w in found] == [
        (3, "layers 7"),
        (7, "KV heads 16"),
        (10, "head_dim 99"),
    ]


def test_models_in_columns(check: Any, dataset: Path) -> None:
    found = check("|  | tiny |\n|---|---|\n| KV heads | 8 |\n| Layers | 2 |\n")
    assert [w.split(" ->")[0] for _, _, w in found] == ["KV heads 8"]
    names = [d.name for d in Dataset(dataset).read().definitions]
    rows = "\n".join(f"| {name} | ✅ |" for name in [*names, "rmsnorm_h128"])
    ((line, kind, _),) = check(f"| Kernel | tiny |\n|---|---|\n{rows}\n")
    assert (line, kind) == (len(names) + 3, "not needed")


def test_wrong_layer_counts_of_a_definition(check: Any, dataset: Path) -> None:
    rest = listed(dataset).replace(f"- `{DECODE}`\n", "")
    found = check(f"# Tiny\n\n{rest}\n\n- `{DECODE}` (61 layers)\n")
    assert [(k, w) for _, k, w in found] == [("layers", f"{DECODE} in 61 layers -> 2 layers")]
    assert check(f"# Tiny\n\n{rest}\n\n- `{DECODE}` (2 layers)\n") == []


def test_statuses_that_are_not_so(check: Any, dataset: Path) -> None:
    Dataset(dataset).set_status(NORM, True)
    remove(dataset, DECODE)
    names = [d.name for d in Dataset(dataset).read().definitions]
    rest = "\n".join(f"| `{name}` | | |" for name in names if name != NORM)
    found = check(
        "# Tiny\n\n| Definition | Status | Verified |\n|---|---|---|\n"
        f"| `{DECODE}` | ✅ | no |\n| `{NORM}` | missing | ❌ |\n"
        f"| `rmsnorm_h64` | done | ✅ |\n{rest}\n"
    )
    assert [(line, kind) for line, kind, _ in found] == [
        (5, "status"),
        (6, "status"),
        (6, "status"),
    ]
    assert "is not in the dataset" in found[0][2]
    assert "is there" in found[1][2]
    assert "is verified" in found[2][2]


def test_task_lists(check: Any, dataset: Path) -> None:
    remove(dataset, DECODE)
    rest = listed(dataset)
    assert check(f"# Tiny\n\n{rest}\n- [ ] `{DECODE}`\n") == []
    ((_, kind, _),) = check(f"# Tiny\n\n{rest}\n- [x] `{DECODE}`\n")
    assert kind == "status"


def test_definitions_that_the_page_lacks(check: Any, dataset: Path) -> None:
    rest = listed(dataset).replace(f"- `{NORM}`\n", "").replace(f"- `{NORM}`", "")
    ((line, kind, words),) = check(f"intro\n\n# Tiny\n\n{rest}\n")
    assert (line, kind) == (3, "left out")
    assert NORM in words


def test_braces_spellings_and_stars(check: Any, dataset: Path) -> None:
    text = listed(dataset)
    text = text.replace(f"- `{DECODE}`\n", "").replace("decode_h4_kv2_d16_ps64", "X")
    text = text.replace("- `gqa_paged_X`", "- `gqa_paged_decode_h4_kv2_d16_ps{1,64}`")
    text = text.replace("gemm_n_128_k_64", "gemm_n128_k64")
    assert "{1,64}" in text
    assert "n128" in text
    assert check(f"# Tiny\n\n{text}\n- `rmsnorm_*`\n") == []


def test_op_types_in_columns(check: Any) -> None:
    found = check("| Model | gemm | moe | rmsnorm |\n|---|---|---|---|\n| tiny | ❌ | ✅ | 1/9 |\n")
    assert [k for _, k, _ in found] == ["op type"] * 3


def test_what_cannot_be_checked_is_named(cover: Cover, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| Model | Layers |\n|---|---|\n| Colossus-9T | 5 |\n| tiny | 2 |\n")
    report = cover(check=page)
    assert report.exit_code == 0
    (unchecked,) = report.unchecked
    assert (unchecked.line, unchecked.says) == (3, "Colossus-9T")


def test_a_definition_that_nobody_needs(check: Any) -> None:
    ((line, kind, _),) = check("tiny\n\n# Kernels\n\n- `rmsnorm_h12345`\n- `rmsnorm_h64`\n")
    assert (line, kind) == (5, "not needed")


@pytest.mark.usefixtures("installed_plugins")
def test_the_command(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# tiny\n\n- KV heads: 128\n")
    arguments = [
        *("coverage", "--model-name", "tiny", "--config", str(DATA / "tiny_config.json")),
        *("--sglang", str(DATA), "--dataset", str(dataset)),
    ]
    result = CliRunner().invoke(cli, [*arguments, "--check", str(page)], prog_name="fibcore")
    assert result.exit_code == 1, result.output
    assert f"{page}:3: tiny: size" in result.stdout
    assert "says: KV heads 128" in result.stdout
    result = CliRunner().invoke(cli, [*arguments, "--json"], prog_name="fibcore")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["needed"] > 5
    assert (dataset / "reports/coverage.md").exists()


def test_real_models(sglang: Callable[[str], Path], tmp_path: Path, op_plugins: Registry) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## DeepSeek V3 (TP=8)\n\n"
        "- `moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i1536`\n"
        "- 60 layers\n\n"
        "| Model | KV heads | Intermediate |\n|---|---|---|\n"
        "| Llama 3.1 8B | 128 | 14,336 |\n| meta-llama/Llama-3.1-8B-Instruct | 8 | 11008 |\n"
    )
    report = fibcore.coverage(
        check=page,
        sglang=str(sglang("0.5.9")),
        dataset=tmp_path / "none",
        registry=op_plugins,
    )
    assert {m.slug: m.servings for m in report.models} == {
        "deepseek-v3": ("TP 8, EP 8",),
        "llama-3.1-8b": ("TP 1, EP 1",),
    }
    found = [(c.line, c.model, c.kind) for c in report.contradictions if c.kind != "left out"]
    assert found == [
        (3, "deepseek-v3", "not needed"),
        (4, "deepseek-v3", "size"),
        (8, "llama-3.1-8b", "size"),
        (9, "llama-3.1-8b", "size"),
    ]
    right = next(c for c in report.contradictions if c.line == 3)
    assert "e32_h7168_i2048 (i 2048, not 1536)" in right.derived
    assert "config:moe_intermediate_size" in right.source


def test_a_page_that_is_about_nothing_is_an_error(cover: Cover, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("import nox\n")
    with pytest.raises(SourceError, match="says nothing"):
        cover(check=page)


def test_where_no_model_is_found_pages_of_before_stay(cover: Cover) -> None:
    before = cover()
    (page,) = (path for path in before.written if path.name == "coverage.md")
    text = page.read_text()
    after = cover(model_name="no-such-model", config=None)
    assert (after.exit_code, after.written) == (1, ())
    assert page.read_text() == text


def test_a_file_of_another_kind_is_no_page_without_contradictions(
    cover: Cover, tmp_path: Path
) -> None:
    page = tmp_path / "page.py"
    page.write_text("x = 1\n")
    with pytest.raises(SourceError, match="says nothing"):
        cover(check=page)
