"""Whether a ground truth can run here, and what it gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.errors import GroundTruthUnavailableError  # noqa: E402 - needs torch
from fibcore.verification.emitted.ground_truths import run_ground_truth, why_unavailable  # noqa: E402 - needs torch
from fibcore.verification.emitted.sglang_source import SGLangSource  # noqa: E402 - needs torch


def _raise(error: BaseException) -> Any:
    def entry(**_: object) -> None:
        raise error

    return SimpleNamespace(entry=entry)


TRUTH = {"name": "t", "kind": "torch", "entry": "entry", "packages": ()}


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("not here"),
        ImportError("no kernel"),
        FileNotFoundError("ninja"),
        RuntimeError("Ninja build failed. Ninja output:"),
        torch.cuda.OutOfMemoryError("more memory than this GPU has"),
    ],
)
def test_ground_truth_may_decline(error: Exception) -> None:
    with pytest.raises(GroundTruthUnavailableError, match=str(error)):
        run_ground_truth(_raise(error), TRUTH, {}, None)


@pytest.mark.parametrize("error", [RuntimeError("boom"), NameError("typo"), KeyError("x")])
def test_ground_truth_that_raises_is_a_failure(error: Exception) -> None:
    with pytest.raises(AssertionError, match="nothing was compared"):
        run_ground_truth(_raise(error), TRUTH, {}, None)


def test_name_that_sglang_lacks_is_unavailable(tmp_path: Path) -> None:
    package = tmp_path / "sglang"
    (package / "srt").mkdir(parents=True)
    (package / "srt" / "layer.py").write_text("def outer(x):\n    return helper(x)\n")
    outer = SGLangSource(package)("srt/layer.py", "outer")
    module = SimpleNamespace(entry=lambda x: outer(x))
    with pytest.raises(GroundTruthUnavailableError, match="helper"):
        run_ground_truth(module, TRUTH, {"x": 1}, None)


@pytest.mark.parametrize(
    ("capability", "reason"),
    [((8, 0), "sm90 to any, GPU has sm80"), ((9, 0), ""), ((10, 3), "")],
)
def test_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    truth = {**TRUTH, "device": "cuda", "min_capability": (9, 0), "max_capability": None}
    found = why_unavailable(truth, torch.device("cuda"), None)
    assert reason in found
    assert bool(found) is bool(reason)


def test_missing_package_has_its_name() -> None:
    truth = {**TRUTH, "device": "any", "packages": ("no_such_package_at_all",)}
    found = why_unavailable(truth, torch.device("cpu"), None)
    assert found == "the package no_such_package_at_all is not installed"


def test_package_that_cannot_be_imported_gives_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_when_imported.py").write_text("raise OSError('no driver')\n")
    monkeypatch.syspath_prepend(tmp_path)
    truth = {**TRUTH, "device": "any", "packages": ("breaks_when_imported",)}
    found = why_unavailable(truth, torch.device("cpu"), None)
    assert found == ("the package breaks_when_imported cannot be imported: OSError: no driver")


def test_cuda_is_needed() -> None:
    truth = {**TRUTH, "device": "cuda", "min_capability": None, "max_capability": None}
    assert why_unavailable(truth, torch.device("cpu"), None).startswith("needs CUDA: ")


def test_sglang_is_needed(tmp_path: Path) -> None:
    truth = {**TRUTH, "kind": "sglang", "device": "any"}
    found = why_unavailable(truth, torch.device("cpu"), str(tmp_path))
    assert found == f"--sglang {tmp_path} holds no SGLang source"


def test_who_it_was() -> None:
    module = SimpleNamespace(entry=lambda x: x + 1)
    result, who = run_ground_truth(module, TRUTH, {"x": 1}, None)
    assert result == 2
    version = f"torch {torch.__version__}"
    assert who == {"name": "t", "kind": "torch", "version": version, "files": {}}


def test_who_it_was_of_sglang(tmp_path: Path) -> None:
    package = tmp_path / "sglang"
    (package / "srt").mkdir(parents=True)
    (package / "srt" / "layer.py").write_text("def one():\n    return 1\n")
    module = SimpleNamespace(entry=lambda load_sglang: load_sglang("srt/layer.py", "one")())
    result, who = run_ground_truth(module, {**TRUTH, "kind": "sglang"}, {}, str(tmp_path))
    assert result == 1
    assert who["version"] == "sglang of unknown version"
    assert list(who["files"]) == ["srt/layer.py"]
