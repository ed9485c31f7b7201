"""By which methods latent attention is computed, on real sources."""

from __future__ import annotations

import pytest

from fibcore.model.serving import Serving
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package

LAYER = "model.layers.1.self_attn"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_layers_of_latent_attention_are_called_as_on_nvidia_s_gpus(version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"the tests have not downloaded SGLang {version}")
    tree = real_tree(package, version, "deepseek-v3", Serving())
    absorbed, whole, out = (tree.find(f"{LAYER}.{n}") for n in ("attn_mqa", "attn_mha", "o_proj"))
    assert absorbed is not None
    assert whole is not None
    assert out is not None
    assert len(absorbed.calls) >= 2  # with keys for rotation of their own, and in one piece
    assert any("k_rope" in call.kwargs for call in absorbed.calls)
    # What is written before is not written again.
    assert {call.kwargs.get("save_kv_cache") for call in whole.calls} == {False}
    files = {call.place.file for node in (absorbed, whole, out) for call in node.calls}
    assert not [file for file in files if "rocm" in file or "npu" in file or "cpu" in file]
    written = {
        (call.module, call.name, call.possible)
        for call in tree.kernel_calls
        if call.module.startswith(f"{LAYER}.") and call.name.endswith("kv_buffer")
    }
    assert written == {(f"{LAYER}.attn_mqa", "set_mla_kv_buffer", False)}
    # Whatever makes what a linear layer is given, it is quantised in one way.
    beside = [call for call in tree.kernel_calls if call.beside and call.module == out.path]
    assert [(call.name, call.possible) for call in beside] == [
        ("sglang_per_token_group_quant_fp8", False)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_on_other_gpus_it_is_not_known(version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"the tests have not downloaded SGLang {version}")
    places = []
    for gpu in ("H100", "MI300"):
        node = real_tree(package, version, "deepseek-v2-lite", Serving(gpu=gpu)).find(
            f"{LAYER}.attn_mqa"
        )
        assert node is not None
        places.append({call.place for call in node.calls})
    assert places[1] - places[0]  # methods of other platforms
