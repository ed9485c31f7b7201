"""The whole workflow on a made-up model: repositories, definitions, tests, verification."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import fibcore
from fibcore.ops.registry import Registry
from fibcore.workflow import RunReport

Run = Callable[..., RunReport]


@pytest.fixture
def run(
    tmp_path: Path,
    tiny_source: Path,
    tiny_config: Path,
    op_plugins: Registry,
) -> Run:
    """`fibcore.run` on the model `tiny`, norms alone, on the CPU and without any network."""
    flashinfer = tmp_path / "flashinfer"
    flashinfer.mkdir()
    (flashinfer / "__init__.py").write_text("")
    (tmp_path / "trace" / "definitions").mkdir(parents=True)

    def workflow(**options: object) -> RunReport:
        defaults = {
            "target_dir": tmp_path / "repos",
            "config": tiny_config,
            "sglang": str(tiny_source),
            "flashinfer": str(flashinfer),
            "flashinfer_trace": str(tmp_path / "trace"),
            "op_type": ("rmsnorm",),
            "device": "cpu",
            "registry": op_plugins,
        }
        return fibcore.run("tiny", **{**defaults, **options})  # type: ignore[arg-type]

    return workflow


def test_from_nothing_to_definitions_whose_tests_ran(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reference tests need torch")
    report = run()
    assert report.exit_code == 0, report.to_dict()
    assert report.repositories is not None
    assert {r.status for r in report.repositories.repositories.values()} == {"linked"}
    assert (tmp_path / "repos" / "repos_config.json").exists()
    assert report.counts["new"] == 2
    assert report.counts["tests passed"] > 10
    assert report.counts["tests failed"] == 0
    trace = tmp_path / "trace"
    assert (trace / "tests/references/test_rmsnorm.py").exists()
    # The made-up SGLang has no forward_native, so nothing vouches for the references here.
    definition = json.loads((trace / "definitions/rmsnorm/rmsnorm_h64.json").read_text())
    assert "status:unverified" in definition["tags"]
    json.dumps(report.to_dict())

    again = run()
    assert again.exit_code == 0
    assert again.counts["unchanged"] == 2
    assert again.counts["new"] == 0


def test_a_reference_that_is_wrong_fails_the_run(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reference tests need torch")
    run(device="cpu")
    path = tmp_path / "trace/definitions/rmsnorm/rmsnorm_h64.json"
    data = json.loads(path.read_text())
    data["reference"] += (
        "\n\n_right = run\n\n\ndef wrong(*inputs):\n    return 2 * _right(*inputs)\n"
    )
    data["reference"] += "\n\nrun_right, run = run, wrong\n"
    path.write_text(json.dumps(data))
    report = run()
    assert report.exit_code == 1
    assert report.counts["tests failed"] > 0
    assert report.verification is not None
    failed = {d.name for d in report.verification.definitions if d.failed}
    assert failed == {"rmsnorm_h64"}


def test_without_torch_or_pytest_the_rest_is_done_and_it_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        "fibcore.extras.importlib.util.find_spec",
        lambda name, *rest: None if name == "torch" else find(name, *rest),
    )
    report = run()
    assert report.exit_code == 1
    assert report.counts["new"] == 2
    assert (tmp_path / "trace/tests/references/test_rmsnorm.py").exists()
    (error,) = report.errors
    assert "torch" in str(error)
    assert "pip install" in str(error)


def test_nothing_to_test_is_no_success(run: Run) -> None:
    report = run(op_type=("moe",))
    assert report.exit_code == 1
    assert "no kernel" in str(report.errors[0])


def test_only_the_models_own_definitions_are_run(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reference tests need torch")
    run()
    folder = tmp_path / "trace/definitions/rmsnorm"
    data = json.loads((folder / "rmsnorm_h64.json").read_text())
    text = json.dumps(data).replace("rmsnorm_h64", "rmsnorm_h32").replace("64", "32")
    (folder / "rmsnorm_h32.json").write_text(text)
    report = run()
    assert report.verification is not None
    names = {d.name for d in report.verification.definitions}
    assert names == {"rmsnorm_h64", "fused_add_rmsnorm_h64"}
