"""Tests of extraction by a launch line, on a real release: heads, drafts, records, tags."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import fibcore
from fibcore.dataset import read_provenance
from fibcore.extraction.drafts import of_draft
from fibcore.extraction.launch_records import described
from fibcore.extraction.report import ExtractReport
from fibcore.model.launch import Launch, option_text
from fibcore.model.serving import Serving
from fibcore.ops.registry import Registry

LINE = (
    "HF_HOME=/x SGLANG_MOE_PADDING=1 python3 -m sglang.launch_server --model-path deepseek-v3 "
    "--tp 8 --dp-size 8 "
    "--enable-dp-attention --ep-size 8 --page-size 64 --port 1 --speculative-algorithm EAGLE"
)


@pytest.fixture(scope="module")
def launched(
    sglang: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExtractReport, Path]:
    dataset = tmp_path_factory.mktemp("launched")
    report = fibcore.extract(
        launch=LINE, sglang=sglang("0.5.9"), dataset=dataset, op_type=("mla_paged", "rmsnorm")
    )
    return report, dataset


def test_data_parallel_attention_has_all_heads_on_a_rank(
    launched: tuple[ExtractReport, Path],
) -> None:
    report, _ = launched
    target, draft = report.models
    names = {kernel.name for kernel in target.kernels if kernel.op_type == "mla_paged"}
    assert names == {
        "mla_paged_decode_h128_ckv512_kpe64_ps64",
        "mla_paged_prefill_causal_h128_ckv512_kpe64_ps64",
    }
    assert (draft.slug, draft.architecture) == ("deepseek-v3-draft", "DeepseekV3ForCausalLMNextN")
    assert {kernel.name for kernel in draft.kernels} >= names


def test_the_report_says_how_it_is_served_and_what_does_not_matter(
    launched: tuple[ExtractReport, Path],
) -> None:
    target = launched[0].models[0]
    assert "--enable-dp-attention" in target.served
    assert "port" in target.ignored
    assert "--port" not in target.served
    said = "variables before the launch line that decide about no kernel: HF_HOME"
    assert [warning for warning in target.warnings if warning.startswith(said)]


def test_records_have_the_launch_and_tags_the_ranks_of_the_heads(
    launched: tuple[ExtractReport, Path],
) -> None:
    report, dataset = launched
    name = "mla_paged_decode_h128_ckv512_kpe64_ps64"
    provenance = read_provenance(dataset, name)
    assert provenance is not None
    target, draft = provenance.entries
    assert (target.model, draft.model) == ("deepseek-v3", "deepseek-v3-draft")
    assert target.serving.launch == Launch(report.models[0].served)
    assert "serving:dp" in target.facts["num_qo_heads"].origins
    text = (dataset / "definitions" / "mla_paged" / f"{name}.json").read_text()
    assert '"tp:1"' in text
    assert '"tp:8"' not in text


def test_options_are_written_as_the_command_line_takes_them() -> None:
    assert option_text("dp_size", 8) == "--dp-size 8"
    assert option_text("enable_lora", True) == "--enable-lora"
    assert option_text("enable_lora", False) == "--no-enable-lora"
    assert option_text("lora_paths", ["a b", "c"]) == "--lora-paths 'a b' c"
    assert described(Serving()) == ""
    assert described(Serving(gpu="B200", launch=Launch("--dp-size 2"))) == "--dp-size 2 on B200"


def test_a_draft_is_quantised_as_it_alone_is_told() -> None:
    arguments = {"quantization": "fp8", "speculative_draft_model_quantization": "unquant"}
    plain = of_draft(Serving(launch=Launch("", arguments=arguments)))
    assert plain.argument("quantization") is None
    arguments["speculative_draft_model_quantization"] = "w8a8_int8"
    assert of_draft(Serving(launch=Launch("", arguments=arguments))).argument("quantization") == (
        "w8a8_int8"
    )


@pytest.mark.parametrize(
    ("algorithm", "architecture"),
    [("EAGLE3", "LlamaForCausalLMEagle3"), ("STANDALONE", "LlamaForCausalLM")],
)
@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_a_draft_in_a_local_folder_comes_too(
    sglang: Callable[[str], Path], tmp_path: Path, algorithm: str, architecture: str, version: str
) -> None:
    config = {
        "architectures": [architecture],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 8192,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_hidden_layers": 1,
        "vocab_size": 128256,
        "draft_vocab_size": 32000,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    line = (
        f"--model-path llama-3.1-8b --tp 2 --speculative-algorithm {algorithm} --page-size 1 "
        f"--speculative-draft-model-path {folder} --speculative-num-steps 3 "
        "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
    )
    report = fibcore.extract(
        launch=line,
        sglang=sglang(version),
        dataset=tmp_path / "dataset",
        dry_run=True,
        op_type="gqa_paged",
    )
    assert not report.refused
    target, draft = report.models
    assert (draft.slug, draft.architecture) == ("small-draft", architecture)
    assert {kernel.name for kernel in target.kernels} == {
        "gqa_paged_decode_h16_kv4_d128_ps1",
        "gqa_paged_prefill_causal_h16_kv4_d128_ps1",
    }
    assert {kernel.name for kernel in draft.kernels} == {
        "gqa_paged_decode_h8_kv2_d128_ps1",
        "gqa_paged_prefill_causal_h8_kv2_d128_ps1",
    }


def test_experts_of_a_draft_have_a_backend_of_their_own() -> None:
    arguments = {"moe_runner_backend": "deep_gemm", "speculative_moe_runner_backend": "triton"}
    served = of_draft(Serving(launch=Launch("", arguments=arguments)))
    assert served.argument("moe_runner_backend") == "triton"


def test_explain_says_how_a_model_was_launched(
    launched: tuple[ExtractReport, Path], op_plugins: Registry
) -> None:
    name = "mla_paged_decode_h128_ckv512_kpe64_ps64"
    found = fibcore.explain(name, dataset=launched[1], registry=op_plugins).to_dict()
    assert {entry["model"]: entry["gpu"] for entry in found["provenance"]} == {
        "deepseek-v3": "H100",
        "deepseek-v3-draft": "H100",
    }
    assert all("--enable-dp-attention" in entry["launch"] for entry in found["provenance"])
