"""FlashInfer runs a small model's layers with the exported references in place of its kernels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flashinfer_python import INTERPRETERS, run, usable

import fibcore
from fibcore.exporting.report import ExportReport
from fibcore.ops.registry import Registry

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 128,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
}

Export = Callable[..., ExportReport]


@pytest.fixture
def export(sglang: Callable[[str], Path], op_plugins: Registry, tmp_path: Path) -> Export:
    def run(**changes: Any) -> ExportReport:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({**CONFIG, **changes}))
        return fibcore.export(
            "trace-apply",
            "small-llama",
            config=config,
            sglang=str(sglang("0.5.23")),
            output=tmp_path / "applied",
            registry=op_plugins,
        )

    return run


@pytest.fixture(params=INTERPRETERS)
def interpreter(request: pytest.FixtureRequest) -> str:
    return usable(request.param, "flashinfer.trace_apply")


LATENT = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_key_value_heads": 4,
    "q_lora_rank": 128,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "v_head_dim": 64,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "moe_intermediate_size": 128,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "routed_scaling_factor": 2.5,
    "quantization_config": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "fmt": "e4m3",
    },
}
"""Latent attention and experts, with weights of fp8."""


@pytest.mark.parametrize(
    ("changes", "script", "parts"),
    [
        ({}, "apply_layer.py", ("activation", "decode", "gemm", "norm", "prefill", "rope")),
        (LATENT, "apply_latent.py", ("fused_moe", "gemm", "mla", "norm", "prefill", "sampling")),
    ],
)
def test_a_small_model_s_layer_is_as_without_it_and_every_function_is_hit(
    export: Export,
    interpreter: str,
    tmp_path: Path,
    changes: dict[str, Any],
    script: str,
    parts: tuple[str, ...],
) -> None:
    export(**changes)
    # It writes sources into a cache below HOME.
    path = Path(__file__).with_name(script)
    done = run(interpreter, str(path), str(tmp_path / "applied"), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    assert all(
        calls.get("hit") and not calls.get("fallback_no_candidate") for calls in stats.values()
    )
    assert {name.rpartition("flashinfer.")[2].split(".")[0] for name in stats} == {*parts}


WIDER = {"hidden_size": 512, "intermediate_size": 1024, "vocab_size": 1024}
WIDER |= {"num_attention_heads": 8, "head_dim": 64, "max_position_embeddings": 256}
"""Sizes that FlashInfer has kernels for."""


def test_logits_on_a_gpu_are_as_without_it(
    export: Export, interpreter: str, tmp_path: Path
) -> None:
    done = run(interpreter, "-c", "import torch; assert torch.cuda.is_available()")
    if done.returncode:
        pytest.skip("there is no CUDA GPU")
    export(**WIDER)
    path = Path(__file__).with_name("apply_on_gpu.py")
    done = run(interpreter, str(path), str(tmp_path / "applied"))
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout.splitlines()[-1])
    assert all(
        calls.get("hit") and not calls.get("fallback_no_candidate") for calls in stats.values()
    )
    parts = {name.rpartition("flashinfer.")[2].split(".")[0] for name in stats}
    assert parts == {"activation", "decode", "norm", "prefill", "rope"}


def test_there_is_one_solution_a_definition_of_its_name(export: Export, tmp_path: Path) -> None:
    report = export()
    root = tmp_path / "applied"
    definitions = {path.stem: path for path in root.glob("definitions/*/*.json")}
    solutions = [json.loads(p.read_text()) for p in root.glob("solutions/*/*/*/*.json")]
    assert sorted(s["definition"] for s in solutions) == sorted(definitions)
    assert len(report.files) == 2 * len(definitions)
    fused = json.loads(definitions["fused_add_rmsnorm_h64"].read_text())
    assert {n: o.get("param") for n, o in fused["outputs"].items()} == {
        "output": "input",
        "residual": "residual",
    }
    assert fused["tags"] == ["fi_api:flashinfer.norm.fused_add_rmsnorm"]


def test_what_flashinfer_s_names_do_not_tell_apart_is_left_out(export: Export) -> None:
    report = export(
        architectures=["Gemma2ForCausalLM"],
        model_type="gemma2",
        head_dim=16,
        sliding_window=32,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        hidden_act="gelu_pytorch_tanh",
        hidden_activation="gelu_pytorch_tanh",
    )
    windows = [why for name, why in report.left_out.items() if "_swa" in name or "_cap" in name]
    assert windows
    assert all("window" in why for why in windows)
    assert not any("gqa" in file for file in report.files)
    (fused,) = (why for name, why in report.left_out.items() if "gemma_fused_add" in name)
    assert "writes into the residual" in fused
