"""`add_new_model` as a whole: extraction, the file, the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fibcore
from fibcore.cli import cli
from fibcore.errors import FibcoreError, UnknownModelError, WebError
from fibcore.ops.registry import Registry
from fibcore.web import AddModelReport

SITE = """\
export const models: Model[] = [
  {
    id: "other",
    name: "Other",
    description: "",
    modules: {
      layers: { count: 7, type: "block" },
      attn: { count: 1, parent: "layers", type: "layer" },
    },
  },
]
"""

Add = Callable[..., AddModelReport]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site/apps/web/data/models.ts"
    path.parent.mkdir(parents=True)
    path.write_text(SITE)
    return path


@pytest.fixture
def add(
    tmp_path: Path, site: Path, tiny_source: Path, tiny_config: Path, op_plugins: Registry
) -> Add:
    """Adds the made-up model `tiny` to `site`."""
    assert site.exists()

    def call(name: str = "tiny", **options: Any) -> AddModelReport:
        given = {"web_dir": tmp_path / "site", "config": tiny_config, "registry": op_plugins}
        return fibcore.add_new_model(
            name, target_dir=tmp_path / "repos", sglang=str(tiny_source), **{**given, **options}
        )

    return call


def test_a_model_comes_in_and_a_second_run_changes_nothing(add: Add, site: Path) -> None:
    site.chmod(0o640)
    shown: list[str] = []
    report = add(hf_repo_id="made/Tiny-1B", show=shown.append)
    text = site.read_text()
    assert text.startswith(SITE.removesuffix("]\n"))
    assert 'id: "tiny",\n    name: "Tiny 1B",' in text
    assert 'description: "TinyForCausalLM (made/Tiny-1B), kernels at TP 1, EP 1"' in text
    assert 'TinyLayer: { count: 2, parent: "TinyForCausalLM", type: "block" }' in text
    assert report.change.kind == "added"
    definitions = {d for m in report.modules for d in m.definitions}
    assert len(definitions) >= 10
    assert report.counts == {"modules": 8, "layers": 6, "definitions": len(definitions)}
    assert set(report.not_in_dataset) == definitions
    assert shown == [report.diff]
    assert report.diff.startswith("--- a/models.ts\n+++ b/models.ts\n@@ -8,4 +8,")
    assert site.stat().st_mode & 0o777 == 0o640
    again = add(hf_repo_id="made/Tiny-1B", show=shown.append)
    assert (again.change.kind, again.diff, len(shown)) == ("unchanged", "", 1)
    assert site.read_text() == text


def test_a_dry_run_writes_nothing(add: Add, site: Path) -> None:
    report = add(dry_run=True)
    assert report.diff
    assert site.read_text() == SITE


def test_counts_of_other_entries_are_remarked(add: Add) -> None:
    assert any("--counts parent" in note for note in add(dry_run=True).notes)
    report = add(dry_run=True, counts="parent")
    assert not any("--counts" in note for note in report.notes)
    assert {m.name: m.count for m in report.modules}["qkv_proj"] == 1


def test_definitions_have_the_names_of_the_dataset(
    add: Add, tmp_path: Path, tiny_source: Path, tiny_config: Path, op_plugins: Registry
) -> None:
    fibcore.extract(
        "tiny",
        config=tiny_config,
        sglang=str(tiny_source),
        dataset=tmp_path / "d",
        registry=op_plugins,
    )
    file = tmp_path / "d/definitions/gemm/gemm_n_128_k_64.json"
    data = json.loads(file.read_text())
    file.with_name("gemm_n128_k64.json").write_text(json.dumps({**data, "name": "gemm_n128_k64"}))
    file.unlink()
    report = add(dataset=tmp_path / "d")
    modules = {m.name: m for m in report.modules}
    assert modules["qkv_proj"].definitions == ("gemm_n128_k64",)
    assert report.not_in_dataset == ()


def test_a_site_s_own_spelling_is_kept_and_no_kernel_listed_twice(add: Add, site: Path) -> None:
    site.write_text(site.read_text() + '// "gemm_n8_k8", "gemm_n16_k8"\n')
    listed = {name for module in add().modules for name in module.definitions}
    assert {name for name in listed if "gemm" in name} == {"gemm_n128_k64", "gemm_n64_k64"}
    assert "gemm_n_" not in site.read_text()


def test_sizes_and_words_can_be_given(add: Add, site: Path) -> None:
    report = add(tp=(1, 2), page_size=16, display_name="T", description="d")
    assert report.sizes == ((1, 1), (2, 1))
    attn = {m.name: m for m in report.modules}["attn"].definitions
    assert "gqa_paged_decode_h4_kv2_d16_ps16" in attn
    assert "gqa_paged_decode_h2_kv1_d16_ps16" in attn
    assert 'name: "T",\n    description: "d",' in site.read_text()


def test_a_partial_model_is_written_and_said_to_be_partial(
    add: Add, site: Path, tiny_source: Path
) -> None:
    model = tiny_source / "sglang/srt/models/tiny.py"
    text = model.read_text().replace("QKVParallelLinear(\n", "foreign.make(\n")
    model.write_text(text.replace("from torch import nn", "from torch import nn\nimport foreign"))
    report = add()
    assert report.exit_code == 1
    assert report.failures
    assert "TinyLayer" in site.read_text()


def test_a_link_stays_a_link(add: Add, site: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.ts"
    site.rename(real)
    site.symlink_to(real)
    add()
    assert site.is_symlink()
    assert "TinyLayer" in real.read_text()


def test_a_change_by_somebody_else_is_not_undone(add: Add, site: Path) -> None:
    def meanwhile(_: str) -> None:
        site.write_text(SITE + "// new\n")

    with pytest.raises(WebError, match="changed while"):
        add(show=meanwhile)
    assert site.read_text() == SITE + "// new\n"


def test_what_cannot_be_written_is_an_error(
    add: Add, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WebError, match="cannot write") as caught:
        add()
    assert "No space left" in str(caught.value)
    assert site.read_text() == SITE
    assert [p.name for p in site.parent.iterdir()] == ["models.ts"]


def test_errors_come_before_anything_is_written(add: Add, tmp_path: Path, site: Path) -> None:
    for options, error in (
        ({"web_dir": tmp_path / "nowhere"}, WebError),
        ({"config": None, "name": "lama"}, UnknownModelError),
        ({"tp": 3}, FibcoreError),
    ):
        with pytest.raises(error):
            add(**options)
    assert site.read_text() == SITE


def test_the_command(
    tmp_path: Path,
    site: Path,
    tiny_source: Path,
    tiny_config: Path,
    op_plugins: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path / "site")
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: op_plugins)

    def invoke(*more: str) -> Result:
        common = ("--model-name", "tiny", "--sglang", str(tiny_source))
        return CliRunner().invoke(
            cli, ["add-new-model", *common, "--config", str(tiny_config), *more]
        )

    dry = invoke("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert '+    id: "tiny",' in dry.stdout
    assert "dry run, nothing written" in dry.stdout
    assert site.read_text() == SITE
    done = invoke("--json")
    data = json.loads(done.stdout)
    assert data["change"]["kind"] == "added"
    assert data["sizes"] == [{"tp": 1, "ep": 1}]
    assert "+    id:" in done.stderr
    quiet = invoke("-q")
    assert quiet.stdout.splitlines()[0].startswith("tiny: unchanged, 8 modules (6 layers)")
    assert invoke("--web-dir", "nowhere").exit_code == 1
