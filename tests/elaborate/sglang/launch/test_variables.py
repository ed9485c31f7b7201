"""Variables before a launch line: which a release takes, and what they decide, on real releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import resolve_model
from fibcore.elaborate import elaborate, settle
from fibcore.elaborate.launching import read_launch
from fibcore.errors import UsageError
from fibcore.extraction.launch_records import recorded
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.sources.tree import SourceTree, tree_at

SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 1,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def newest(sglang: Callable[[str], Path]) -> SourceTree:
    return tree_at(sglang("0.5.23") / "sglang", "sglang", "tests")


def served(source: SourceTree, line: str) -> tuple[Serving, ModelTree]:
    read = read_launch(source, line)
    config = resolve_model("small", config_file=SMALL).config
    serving = settle(source, config, Serving(tp=read.tp, ep=read.ep, launch=read.launch))
    return serving, elaborate(source, config, serving)


def quantised(tree: ModelTree) -> set[str]:
    linears = [n for n in tree.root.walk() if n.class_name.endswith("ParallelLinear")]
    return {n.path.rpartition(".")[2] for n in linears if n.quantization is not None}


def test_a_field_of_environ_decides(newest: SourceTree) -> None:
    line = "SGLANG_FP8_IGNORED_LAYERS=model.layers.0.mlp.down_proj python -m sglang.launch_server"
    with_it, tree = served(newest, f"{line} --quantization fp8")
    assert quantised(tree) == {"qkv_proj", "o_proj", "gate_up_proj"}
    launch = recorded(with_it, tree).launch
    assert launch is not None
    assert launch.line.startswith("SGLANG_FP8_IGNORED_LAYERS=model.layers.0.mlp.down_proj --")
    _, tree = served(newest, "--quantization fp8")
    assert quantised(tree) == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_others_are_named_as_deciding_nothing(newest: SourceTree) -> None:
    serving, tree = served(newest, "CUDA_VISIBLE_DEVICES=0 SGLANG_CACHE_DIR=/x --tp 2")
    launch = recorded(serving, tree).launch
    assert launch is not None
    assert (launch.line, launch.ignored) == ("", ("CUDA_VISIBLE_DEVICES", "SGLANG_CACHE_DIR"))


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_names_of_before_are_turned_into_those_of_now(
    sglang: Callable[[str], Path], version: str
) -> None:
    source = tree_at(sglang(version) / "sglang", "sglang", "tests")
    variables = read_launch(source, "SGL_USE_AITER=1 --tp 2").launch.variables
    assert variables == {"SGL_USE_AITER": "1", "SGLANG_USE_AITER": "1"}


def test_a_name_that_the_release_does_not_read_is_refused(newest: SourceTree) -> None:
    with pytest.raises(UsageError) as caught:
        read_launch(newest, "SGLANG_USE_AITR=1 --tp 2")
    assert "SGLANG_USE_AITER" in str(caught.value.expected)
    assert "SGLANG_USE_AITR" in str(caught.value.where)


def test_what_the_server_sets_reaches_the_model(newest: SourceTree) -> None:
    serving, _ = served(newest, "--enable-deterministic-inference --attention-backend fa3")
    assert serving.launch is not None
    found: Any = serving.launch.decided["SGLANG_ENABLE_DETERMINISTIC_INFERENCE"]
    assert found == "1"
