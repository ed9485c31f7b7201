"""Real dumps: FlashInfer's tracing writes them before a kernel runs, so that no GPU is needed.

They are made with this interpreter's FlashInfer, and with those that FIBCORE_FLASHINFER names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flashinfer_python import INTERPRETERS, run, usable

from fibcore.dataset import Dataset
from fibcore.errors import FibcoreError
from fibcore.ops.registry import Registry
from fibcore.reports.diff import DiffReport, diff
from fibcore.traces import import_trace, read_trace

SCRIPT = """
import types

import torch
import flashinfer

bf16 = torch.bfloat16

def call(function, *args):
    try:
        function(*args)
    except Exception as error:  # there is no GPU; the dump is written by now
        print(type(error).__name__, error)

x, weight = torch.zeros(3, 64, dtype=bf16), torch.ones(64, dtype=bf16)
call(flashinfer.rmsnorm, x, weight)
call(flashinfer.fused_add_rmsnorm, x, x.clone(), weight)
call(flashinfer.gelu_and_mul, torch.zeros(2, 128, dtype=bf16))
call(flashinfer.gelu_tanh_and_mul, torch.zeros(2, 128, dtype=bf16))
q = torch.zeros(2, 4, 16, dtype=bf16)
for page_size in (1, 16):
    cache = tuple(torch.zeros(4, page_size, 2, 16, dtype=bf16) for _ in "kv")
    call(flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run, None, q, cache)
    call(flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper.run, None, q, cache)
other = tuple(torch.zeros(4, 64, 2, 16, dtype=bf16) for _ in "kv")  # 2 heads, pages of 64, as HND
transposed = [t.transpose(1, 2) for t in other]
call(flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run, None, q, transposed)
call(flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper.run, None, q, q[:, :2], q[:, :2])
latent = torch.zeros(4, 1, 32, dtype=bf16)
# Some releases ask the wrapper something before they trace.
wrapper = types.SimpleNamespace(_warn_deprecated_positional_arguments=lambda *_, **__: None)
call(flashinfer.mla.BatchMLAPagedAttentionWrapper.run, wrapper, torch.zeros(2, 4, 32, dtype=bf16),
     torch.zeros(2, 4, 8, dtype=bf16), latent, latent[..., :8])
call(flashinfer.rope.apply_rope, torch.zeros(4, 4, 16, dtype=bf16),
     torch.zeros(4, 2, 16, dtype=bf16), torch.tensor([0, 4]), torch.tensor([0]))
"""


@pytest.fixture(scope="session", params=INTERPRETERS)
def interpreter(request: pytest.FixtureRequest) -> str:
    """A Python that can import FlashInfer and torch."""
    return usable(request.param)


@pytest.fixture(scope="session")
def dump(interpreter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a few calls of FlashInfer leave, made without a GPU."""
    folder = tmp_path_factory.mktemp("dump")
    done = run(
        *(interpreter, "-c", SCRIPT),
        FLASHINFER_TRACE_DUMP="1",
        FLASHINFER_TRACE_DUMP_DIR=str(folder),
    )
    assert done.returncode == 0, done.stderr
    if not list(folder.glob("*.json")):
        pytest.skip(f"this flashinfer writes no dumps: {done.stdout[-500:]}")
    return folder


@pytest.fixture(scope="session")
def templates(interpreter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of every template whose inputs need no GPU."""
    folder = tmp_path_factory.mktemp("templates")
    script = Path(__file__).with_name("all_templates.py")
    done = run(interpreter, str(script), str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def compared(
    dump: Path, tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> DiffReport:
    """The made-up model against the dump: the same kernels, at page size 1."""
    return diff(
        "tiny",
        sglang=str(tiny_source),
        config=tiny_config,
        trace=dump,
        target_dir=tmp_path,
        registry=op_plugins,
    )


def test_real_dumps_are_repaired_imported_and_run(
    dump: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    root = tmp_path / "dataset"
    report = import_trace(dump, dataset=root, registry=op_plugins, execute=True)
    outcomes = {kernel.traced: kernel for kernel in report.kernels}
    assert set(outcomes) == {
        *("rmsnorm_h64", "fused_add_rmsnorm_h64", "gelu_and_mul_h128", "gelu_tanh_and_mul_h128"),
        *("gqa_paged_decode_h4_kv2_d16_ps1", "gqa_paged_decode_h4_kv2_d16_ps16"),
        *("gqa_paged_prefill_h4_kv2_d16_ps1", "gqa_paged_prefill_h4_kv2_d16_ps16"),
        *("gqa_ragged_h4_kv2_d16", "mla_paged_decode_h4_ckv32_kpe8_ps1"),
    }
    assert {kernel.outcome for kernel in report.kernels} == {"new"}
    for name in (
        *("rmsnorm_h64", "fused_add_rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1"),
        "mla_paged_decode_h4_ckv32_kpe8_ps1",
    ):
        assert outcomes[name].executed, outcomes[name]
    # A cache in the other layout looks like one of 64 KV heads; RoPE's helpers are not in the dump.
    refused = {(error.where or "").split()[0]: error for error in report.refused}
    assert set(refused) == {"gqa_paged_decode_h4_kv64_d16_ps2.json", "rope_h4_kv2_d16.json"}
    assert "num_kv_heads" in str(refused["gqa_paged_decode_h4_kv64_d16_ps2.json"])
    assert Dataset(root).get("rmsnorm_h64") is not None
    before = {p: p.read_bytes() for p in root.rglob("*.json")}
    again = import_trace(dump, dataset=root, registry=op_plugins)
    assert {kernel.outcome for kernel in again.kernels} == {"unchanged"}
    assert {p: p.read_bytes() for p in root.rglob("*.json")} == before


def test_every_template_is_taken_or_refused_for_what_its_file_shows(
    templates: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    """Each refusal is held against the file, without the code that refused it."""
    report = import_trace(templates, dataset=tmp_path / "dataset", registry=op_plugins)
    files = {path.name for path in templates.glob("*.json")}
    refused = {(error.where or "").split()[0]: error for error in report.refused}
    assert {kernel.file for kernel in report.kernels} | set(refused) == files
    for name, error in refused.items():
        assert _is_true(json.loads((templates / name).read_text()), error), (name, str(error))
    taken = {kernel.traced.partition("_h")[0] for kernel in report.kernels}
    assert {"gqa_paged_decode", "gqa_paged_prefill", "gqa_ragged", "mla_paged_decode"} <= taken


def _is_true(data: dict[str, Any], error: FibcoreError) -> bool:
    """Whether the file has the fault that it is refused for."""
    source = data.get("reference")
    found = error.found or ""
    if error.message == "there is no reference":
        return source is None
    if error.message == "the reference needs more than it may":
        return "from flashinfer" in source
    if error.message == "the reference uses names that the dump does not define":
        names = found.split(", ")
        return all(f"{name}(" in source and f"def {name}(" not in source for name in names)
    place = (error.where or "").split()[-1].split(".")
    if place[1] not in ("inputs", "outputs"):
        return False
    dtype = data[place[1]][place[2]]["dtype"]
    if error.message == "a dtype that the format does not have":
        return dtype in ("uint8", "uint32")
    return "the dtype" in error.message and dtype == "unknown" and f"{place[2]}=None" not in source


def test_what_an_extracted_kernel_has_is_all_that_a_dump_of_attention_adds(
    dump: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    """Flags of the kernel's, such as return_lse, make no second definition."""
    report = import_trace(dump, dataset=tmp_path / "a", registry=op_plugins)
    attention = [k.name for k in report.kernels if k.op_type in ("gqa_paged", "mla_paged")]
    for name in attention:
        definition = Dataset(tmp_path / "a").get(name)
        assert definition is not None
        assert not {"return_lse", "ckv_scale", "kpe_scale"} & set(definition.inputs)


def test_extracted_kernels_are_found_in_a_real_dump(compared: DiffReport) -> None:
    assert compared.mode == "trace"
    assert compared.trace is not None
    matched = {match.name: match for match in compared.trace.matched}
    assert set(matched) == {
        *("rmsnorm_h64", "fused_add_rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1"),
        *("gqa_paged_prefill_causal_h4_kv2_d16_ps1", "gqa_ragged_prefill_causal_h4_kv2_d16"),
    }
    assert all(match.differences == () for match in matched.values())
    prefill = matched["gqa_paged_prefill_causal_h4_kv2_d16_ps1"]
    assert prefill.traced == "gqa_paged_prefill_h4_kv2_d16_ps1"
    assert prefill.where.startswith("sglang/srt/models/tiny.py:")


def test_extraction_and_import_give_one_definition(
    dump: Path, tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    from fibcore.extraction.run import extract

    root = tmp_path / "dataset"
    extract("tiny", sglang=str(tiny_source), config=tiny_config, dataset=root, registry=op_plugins)
    report = import_trace(dump, dataset=root, registry=op_plugins, op_type="gqa_paged")
    outcomes = {kernel.traced: (kernel.outcome, kernel.name) for kernel in report.kernels}
    assert outcomes["gqa_paged_decode_h4_kv2_d16_ps1"][0] == "merged"  # the traced function's tag
    assert outcomes["gqa_paged_prefill_h4_kv2_d16_ps1"] == (
        "same-kernel-other-name",
        "gqa_paged_prefill_causal_h4_kv2_d16_ps1",
    )
    record = Dataset(root).provenance("gqa_paged_decode_h4_kv2_d16_ps1")
    assert record is not None
    assert (len(record.entries), len(record.imports)) == (1, 1)
    # Extracting again keeps what the import recorded.
    extract("tiny", sglang=str(tiny_source), config=tiny_config, dataset=root, registry=op_plugins)
    assert Dataset(root).provenance("gqa_paged_decode_h4_kv2_d16_ps1") == record


def test_why_kernels_stand_on_one_side_alone(compared: DiffReport) -> None:
    assert compared.trace is not None
    static = {one.name: one.reason for one in compared.trace.static_only}
    traced = {one.name: one.reason for one in compared.trace.traced_only}
    assert "nothing of op type gemm" in static["gemm_n_128_k_64"]
    assert "page size 64" in static["gqa_paged_decode_h4_kv2_d16_ps64"]
    assert "--page-size 16" in traced["gqa_paged_decode_h4_kv2_d16_ps16"]
    assert "nothing of op type activation" in traced["gelu_and_mul_h128"]
    assert "num_kv_heads 2 (not 64)" in traced["gqa_paged_decode_h4_kv64_d16_ps2"]
    assert compared.differs
    assert compared.exit_code == 0


def test_what_a_real_file_looks_like(dump: Path) -> None:
    """The faults that the repairs are for; where a FlashInfer no longer has one, this says so."""
    data = json.loads((dump / "fused_add_rmsnorm_h64.json").read_text())
    assert {"check", "init"} <= set(data)
    assert "residual" in data["inputs"]
    assert "residual" in data["outputs"]
    assert "def run(" not in data["reference"]
    assert "status:verified" in data["tags"]
    decode = json.loads((dump / "gqa_paged_decode_h4_kv2_d16_ps1.json").read_text())
    assert decode["inputs"]["kv_indptr"]["dtype"] == "unknown"
    assert not read_trace(dump).broken
