"""Tests of extraction by a launch line, on a real release: heads, drafts, records, tags."""

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
