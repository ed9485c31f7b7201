"""A model from nothing to two pull-request folders, in steps that can be taken again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.errors import FibcoreError, UsageError
from fibcore.onboarding import OnboardReport
from fibcore.onboarding import run as steps
from fibcore.onboarding.manifest import PHASES, Manifest
from fibcore.ops.registry import Registry

Onboard = Callable[..., OnboardReport]


@pytest.fixture
def onboard(tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry) -> Onboard:
    def run(model: str = "tiny", **given: Any) -> OnboardReport:
        usual = {"registry": op_plugins, "dataset": tmp_path / "base", "limit": 2}
        usual |= {"config": tiny_config, "sglang": str(tiny_source), "output": tmp_path / "out"}
        return fibcore.onboard(model, **{**usual, **given})

    return run


def tree(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_both_pull_requests_are_made_and_the_dataset_is_valid(
    onboard: Onboard, tmp_path: Path, op_plugins: Registry
) -> None:
    report = onboard()
    assert report.exit_code == 0, report.to_dict()
    assert report.left == {"web": steps.NO_SITE}
    folder = tmp_path / "out" / "tiny"
    names = set(report.manifest.new())
    assert {"rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1"} <= names
    pull = folder / "dataset"
    assert {p.stem for p in pull.glob("definitions/*/*.json")} == names
    assert {p.stem for p in pull.glob("tests/references/test_*.py")} == {f"test_{n}" for n in names}
    assert {p.stem for p in pull.glob("workloads/*/*.jsonl")} == names
    checked = fibcore.validate(pull, registry=op_plugins)
    # FlashInfer has no attention of such small heads: the references are its baselines.
    assert {p.message for p in checked.problems} == {"no traces"}
    assert list(pull.glob("solutions/baseline/gqa_paged/*/reference__*.json"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (norm,) = (k for k in manifest["kernels"] if k["definition"] == "rmsnorm_h64")
    assert norm["state"] == "new"
    assert norm["flashinfer"] == {
        "has": True,
        "functions": ["flashinfer.norm.rmsnorm"],
        "trace_template": True,
    }
    assert norm["phases"]["workloads"] == "synthetic"
    assert manifest["phases"] == {**dict.fromkeys(PHASES, "done"), "web": steps.NO_SITE}
    page = (folder / "code/docs/model_coverage/tiny.md").read_text()
    assert "**Architecture**: TinyForCausalLM" in page
    assert "| `rmsnorm_h64` | rmsnorm | ✅ |" in page
    yaml = (folder / "code/benchmarks/tiny.yaml").read_text()
    assert "  rmsnorm_h64:\n    warmup_runs: 10\n    iterations: 50\n" in yaml
    assert not list(folder.rglob("*.lock"))


def test_a_second_call_does_nothing_and_force_all(onboard: Onboard, tmp_path: Path) -> None:
    onboard()
    before = tree(tmp_path / "out")
    again = onboard()
    assert again.done == ()
    assert set(again.kept) == set(PHASES) - {"web"}
    assert tree(tmp_path / "out") == before
    assert set(onboard(force=True).done) == set(PHASES) - {"web"}
    assert tree(tmp_path / "out") == before


def test_what_failed_is_tried_again_and_nothing_before_it(
    onboard: Onboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise FibcoreError("the disk is full")

    real = steps.add_solutions
    monkeypatch.setattr(steps, "add_solutions", fail)
    first = onboard()
    assert first.exit_code == 1
    assert first.left["baselines"] == "failed: the disk is full"
    assert "workloads" in first.done
    monkeypatch.setattr(steps, "add_solutions", real)
    second = onboard()
    assert second.done == ("baselines",)
    assert second.exit_code == 0


def test_what_the_dataset_has_is_not_in_the_pull_request(
    onboard: Onboard, tmp_path: Path, tiny_source: Path, tiny_config: Path, op_plugins: Registry
) -> None:
    base = tmp_path / "base"
    fibcore.extract(
        "older",
        sglang=str(tiny_source),
        config=tiny_config,
        dataset=base,
        op_type="rmsnorm",
        registry=op_plugins,
    )
    before = tree(base)
    report = onboard()
    states = {name: kernel["state"] for name, kernel in report.manifest.kernels.items()}
    assert states["rmsnorm_h64"] == "existing"
    assert "rmsnorm_h64" not in report.manifest.new()
    pull = tmp_path / "out/tiny/dataset"
    # The tag of the model comes in; tests, baselines and workloads are there already.
    changed = json.loads((pull / "definitions/rmsnorm/rmsnorm_h64.json").read_text())
    assert {"model:older", "model:tiny"} <= set(changed["tags"])
    assert not list(pull.rglob("test_rmsnorm_h64.py"))
    assert tree(base) == before
    shutil.rmtree(tmp_path / "out")
    fibcore.extract(
        "tiny", sglang=str(tiny_source), config=tiny_config, dataset=base, registry=op_plugins
    )
    whole = onboard()
    assert whole.manifest.new() == ()
    assert not list(pull.rglob("*.json"))


def test_the_entry_of_the_site_is_made_in_a_copy(onboard: Onboard, tmp_path: Path) -> None:
    pytest.importorskip("tree_sitter_typescript")
    site = tmp_path / "site"
    file = site / "apps/web/data/models.ts"
    file.parent.mkdir(parents=True)
    file.write_text("export const models = [\n]\n")
    report = onboard(site=site)
    assert report.exit_code == 0, report.problems
    assert report.left == {}
    assert file.read_text() == "export const models = [\n]\n"
    made = (tmp_path / "out/tiny/code/apps/web/data/models.ts").read_text()
    assert "rmsnorm_h64" in made


def test_manifests_of_others_are_refused(onboard: Onboard, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "tiny"
    Manifest("other").write(folder)
    with pytest.raises(UsageError, match="of another model"):
        onboard()
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(UsageError, match="no manifest"):
        onboard()


def test_a_model_that_is_none_says_so(onboard: Onboard) -> None:
    with pytest.raises(FibcoreError):
        onboard(config=None, model="no-such-model-at-all")


def test_new_architectures_and_missing_kernels_are_tracked(
    tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    base = tmp_path / "base"
    place: dict[str, Any] = {"sglang": str(tiny_source), "registry": op_plugins, "dataset": base}
    fibcore.extract("tiny", config=tiny_config, op_type="rmsnorm", **place)
    newer = tmp_path / "newer"
    shutil.copytree(tiny_source, newer)
    (models,) = newer.rglob("srt/models")
    text = (models / "tiny.py").read_text()
    (models / "fresh.py").write_text(text.replace("TinyForCausalLM", "FreshForCausalLM"))
    place["sglang"] = str(newer)
    report = fibcore.track(**place)
    assert [(m.architecture, m.since) for m in report.models] == [("FreshForCausalLM", None)]
    report = fibcore.track(since=str(tiny_source), **place)
    assert [(m.architecture, m.since) for m in report.models] == [("FreshForCausalLM", True)]
    assert fibcore.track(since=str(newer), **place).models == ()
    assert report.to_dict()["exit_code"] == report.exit_code
