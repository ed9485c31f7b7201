"""Workloads of real runs: FlashInfer's own dumps, made without a GPU, come into a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from flashinfer_python import INTERPRETERS, run, usable

import fibcore
from fibcore.benchmarking.recorded.server_log import sanitised
from fibcore.benchmarking.workloads.lines import is_own
from fibcore.errors import TraceError, UsageError
from fibcore.ops.registry import Registry

NORM, DECODE = "rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1"


@pytest.fixture(scope="module", params=INTERPRETERS)
def dumps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What FlashInfer's logging leaves of a few calls."""
    folder = tmp_path_factory.mktemp("dumps")
    done = run(
        *(usable(request.param), str(Path(__file__).with_name("make_dumps.py"))),
        FLASHINFER_LOGLEVEL="10",
        FLASHINFER_DUMP_SAFETENSORS="1",
        FLASHINFER_DUMP_DIR=str(folder),
        FLASHINFER_LOGDEST=os.devnull,
    )
    assert done.returncode == 0, done.stderr
    if not list(folder.rglob("metadata.jsonl")):
        pytest.skip("this flashinfer writes no dumps of inputs")
    return folder


@pytest.fixture
def dataset(tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry) -> Path:
    root = tmp_path / "dataset"
    fibcore.extract(
        "tiny", sglang=str(tiny_source), config=tiny_config, dataset=root, registry=op_plugins
    )
    return root


def workloads(dataset: Path, op_type: str, name: str) -> list[dict[str, Any]]:
    file = dataset / "workloads" / op_type / f"{name}.jsonl"
    return [json.loads(line)["workload"] for line in file.read_text().splitlines()]


def test_dumps_become_sanitised_workloads(
    dumps: Path, dataset: Path, op_plugins: Registry, tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    log.write_text("server_args=ServerArgs(model='/home/me/m', api_key=hunter2)\nprompt: secret\n")
    report = fibcore.import_workloads(dumps, dataset=dataset, registry=op_plugins, log=log)
    assert report.exit_code == 0, report
    assert {r.definition: (r.calls, r.workloads, r.added) for r in report.definitions} == {
        NORM: (3, 2, 2),
        DECODE: (1, 1, 1),
    }
    assert [w["axes"] for w in workloads(dataset, "rmsnorm", NORM)] == [
        {"batch_size": 3},
        {"batch_size": 5},
    ]
    (decode,) = workloads(dataset, "gqa_paged", DECODE)
    # Of 40 pages four are in use, and the buffer is longer than what the offsets say.
    assert decode["axes"] == {
        "batch_size": 2,
        "num_pages": 4,
        "len_indptr": 3,
        "num_kv_indices": 5,
    }
    assert decode["inputs"]["sm_scale"] == {"type": "scalar", "value": 0.25}
    assert decode["inputs"]["k_cache"] == {"type": "random"}
    from safetensors.numpy import load_file

    tensor = decode["inputs"]["kv_indices"]
    assert load_file(dataset / tensor["path"])["kv_indices"].tolist() == [3, 0, 1, 2, 3]
    checked = fibcore.validate(dataset, registry=op_plugins, checks="workload")
    assert (checked.workloads, checked.problems) == (3, ())
    origins = json.loads((dataset / f"reports/workloads/{NORM}.json").read_text())
    assert [origin["calls"] for origin in origins["recorded"].values()] == [2, 1]
    kept = (dataset / (report.log or "")).read_text()
    assert kept == "server_args=ServerArgs(model='…/m', api_key=REMOVED)\n"


def test_calls_of_no_definition_are_skipped_with_the_reason(
    dumps: Path, dataset: Path, op_plugins: Registry
) -> None:
    report = fibcore.import_workloads(dumps, dataset=dataset, registry=op_plugins)
    skipped = " ".join(report.skipped)
    assert "window_left = 7" in skipped
    assert "rmsnorm: hidden_size is another size" in skipped
    assert "gelu_tanh_and_mul: the dataset has no definition of it" in skipped


def test_importing_again_adds_nothing_and_synthetic_ones_are_told_apart(
    dumps: Path, dataset: Path, op_plugins: Registry
) -> None:
    fibcore.import_workloads(dumps, dataset=dataset, registry=op_plugins)
    file = dataset / f"workloads/rmsnorm/{NORM}.jsonl"
    before = file.read_bytes()
    again = fibcore.import_workloads(dumps, dataset=dataset, registry=op_plugins)
    assert sum(r.added for r in again.definitions) == 0
    assert file.read_bytes() == before
    fibcore.add_workloads(definition_name=NORM, limit=2, dataset=dataset, registry=op_plugins)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [is_own(line) for line in lines] == [False, False, True, True]
    origins = json.loads((dataset / f"reports/workloads/{NORM}.json").read_text())
    assert origins["synthetic"] == [line["workload"]["uuid"] for line in lines[2:]]
    assert list(origins["recorded"]) == [line["workload"]["uuid"] for line in lines[:2]]


def test_a_dry_run_writes_nothing_and_a_limit_spreads(
    dumps: Path, dataset: Path, op_plugins: Registry
) -> None:
    report = fibcore.import_workloads(
        dumps, dataset=dataset, registry=op_plugins, dry_run=True, limit=1
    )
    assert {r.definition: r.workloads for r in report.definitions} == {NORM: 1, DECODE: 1}
    assert not (dataset / "workloads").exists()


def test_pickled_tensors_are_refused(dataset: Path, op_plugins: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "dump" / "call"
    folder.mkdir(parents=True)
    (folder / "inputs.pt").write_bytes(b"pickle")
    metadata = {
        "function_name": "rmsnorm",
        "module": "flashinfer.norm",
        "process_id": 1,
        "input_metadata": {},
        "tensor_info": {"input_tensor_keys": ["arg_0"]},
        "function_signature": "(input)",
    }
    (folder / "metadata.jsonl").write_text(json.dumps(metadata))
    report = fibcore.import_workloads(folder.parent, dataset=dataset, registry=op_plugins)
    assert report.exit_code == 1
    assert "pickle" in str(report.refused[0])
    assert "FLASHINFER_DUMP_SAFETENSORS=1" in str(report.refused[0])


def test_what_is_no_dump(dataset: Path, op_plugins: Registry, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no dump of inputs"):
        fibcore.import_workloads(tmp_path / "nothing", dataset=dataset, registry=op_plugins)
    with pytest.raises(UsageError, match="no such bound"):
        fibcore.import_workloads(tmp_path, dataset=dataset, registry=op_plugins, limit=0)


def test_a_log_keeps_how_it_was_served_and_nobody_s_secrets() -> None:
    text = (
        "INFO server_args=(host='10.1.2.3', hf_token=hf_abcdefghij1234)\n"
        "Received request text='who am I'\n"
        "Prefill batch, #new-seq: 3\n"
    )
    kept = sanitised(text)
    assert "who am I" not in kept
    assert "10.1.2.3" not in kept
    assert "abcdefghij" not in kept
    assert "Prefill batch, #new-seq: 3" in kept
