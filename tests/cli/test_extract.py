"""`fibcore extract-kernel-definitions`: options, what is printed, and messages for bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from fibcore.ops.hookspecs import hookimpl
from fibcore.ops.registry import Registry, load_plugins

Invoke = Callable[..., Result]

SIZES = '"num_attention_heads": 4, "vocab_size": 8, "num_hidden_layers": 1'


def test_extract_prints_what_it_found(invoke: Invoke, tiny: list[object]) -> None:
    result = invoke("extract", *tiny)
    assert result.exit_code == 0, result.output
    assert "gemm_n_128_k_64" in result.stdout
    assert "sglang/srt/models/tiny.py" in result.stdout
    assert Path("repos/flashinfer-trace/definitions/rmsnorm/rmsnorm_h64.json").exists()
    assert Path("repos/flashinfer-trace/reports/provenance/rmsnorm_h64.json").exists()


def test_extract_as_json_is_one_document(invoke: Invoke, tiny: list[object]) -> None:
    result = invoke("extract", *tiny, "--json", "--dataset", "d")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["counts"]["new"] == len(data["definitions"])
    assert data["models"][0]["slug"] == "tiny"
    assert "gemm_n_128_k_64" in result.stderr
    again = json.loads(invoke("extract", *tiny, "--json", "--dataset", "d").stdout)
    assert {d["outcome"] for d in again["definitions"].values()} == {"unchanged"}


def test_notes_name_what_was_derived(invoke: Invoke, tiny: list[object]) -> None:
    invoke("extract", *tiny, "--dataset", "d")
    path = Path("d/definitions/rmsnorm/rmsnorm_h64.json")
    data = json.loads(path.read_text())
    path.with_name("norm_of_64.json").write_text(json.dumps({**data, "name": "norm_of_64"}))
    path.unlink()
    said = invoke("extract", *tiny, "--dataset", "d").stdout
    assert "note: rmsnorm_h64: the dataset has this kernel as norm_of_64" in said


def test_quiet_prints_the_result_alone(invoke: Invoke, tiny: list[object]) -> None:
    result = invoke("extract", *tiny, "-q")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_verbose_prints_the_layers(invoke: Invoke, tiny: list[object]) -> None:
    assert "layers.{0-1}.attn" not in invoke("extract", *tiny).stdout
    assert "layers.{0-1}.attn" in invoke("extract", *tiny, "-v").stdout


def test_options_reach_the_extraction(invoke: Invoke, tiny: list[object]) -> None:
    result = invoke(
        *("extract", *tiny, "--json", "--dry-run", "--tp", "1,2", "--ep", "1", "--page-size", "16"),
        *("--op-type", "gqa_paged", "--stage", "decode"),
    )
    data = json.loads(result.stdout)
    assert list(data["definitions"]) == [
        "gqa_paged_decode_h4_kv2_d16_ps16",
        "gqa_paged_decode_h2_kv1_d16_ps16",
    ]
    assert data["dry_run"]
    assert not Path("repos").exists()


def test_an_op_type_is_one_of_several_of_its_plugin(invoke: Invoke, tiny: list[object]) -> None:
    data = json.loads(
        invoke("extract", *tiny, "--json", "--dry-run", "--op-type", "gqa_ragged").stdout
    )
    assert list(data["definitions"]) == ["gqa_ragged_prefill_causal_h4_kv2_d16"]


@pytest.fixture
def without(
    invoke: Invoke, op_plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run a command line with the project's plugins but those named, which `invoke` leaves in."""
    modules = {
        name: sys.modules[f"fibcore_op_{name}"] for p in op_plugins.plugins if (name := p.name)
    }

    def load(*, disable: Sequence[str] = ()) -> Registry:
        return load_plugins(extra=modules, discover=False, disable=disable)

    for module in ("fibcore.ops.registry", "fibcore.workspace"):
        monkeypatch.setattr(f"{module}.load_plugins", load)
    return invoke


def test_options_of_op_types_are_those_of_the_plugins_in_use(without: Invoke) -> None:
    everything = without("extract", "--help").stdout
    assert "--page-size N[,N...] KV page sizes. [default: 1,64]" in " ".join(everything.split())
    assert "--gemm-shapes [layer|rank]" in everything
    fewer = without("extract", "--help", "--disable-plugin", "gqa", "--disable-plugin=gemm").stdout
    assert "--page-size" in fewer  # another plugin declares it too
    assert "--gemm-shapes" not in fewer


def test_an_option_of_no_plugin_in_use_is_unknown(without: Invoke, tiny: list[object]) -> None:
    result = without("extract", *tiny, "--gemm-shapes", "rank", "--disable-plugin", "gemm")
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert "--gemm-shapes" in result.stderr


def test_gemm_shapes_of_a_rank(invoke: Invoke, tiny: list[object]) -> None:
    common = ("extract", *tiny, "--dry-run", "--json", "--tp", "2", "--op-type", "gemm")
    assert "gemm_n_128_k_64" in json.loads(invoke(*common).stdout)["definitions"]
    ranked = json.loads(invoke(*common, "--gemm-shapes", "rank").stdout)["definitions"]
    assert "gemm_n_64_k_64" in ranked
    assert "gemm_n_128_k_64" not in ranked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tp", "1,x"], ["--tp", "'x'"]),
        (["--tp", "0"], ["--tp", "'0'"]),
        (["--ep", "-1"], ["--ep"]),
        (["--tp", ""], ["--tp"]),
        (["--page-size", "1,,2"], ["--page-size"]),
        (["--stage", "encode"], ["--stage", "decode or prefill", "'encode'"]),
        (["--gemm-shapes", "half"], ["--gemm-shapes"]),
        (["--op-type", "gqa_page"], ["--op-type", "gqa_paged"]),
        (["--nonsense"], ["--nonsense"]),
        (["--hf-repo-id", "a/b"], ["--hf-repo-id", "--config"]),
        (["--model-name", "other"], ["--config", "one --model-name"]),
    ],
)
def test_wrong_usage_names_the_option_and_exits_with_2(
    invoke: Invoke, tiny: list[object], arguments: list[str], words: list[str]
) -> None:
    for extra in ([], ["--json"]):
        result = invoke("extract", *tiny, "--dry-run", *arguments, *extra)
        assert result.exit_code == 2, result.output
        for word in words:
            assert word in result.stderr
        assert "Traceback" not in result.stderr
        if extra:
            assert json.loads(result.stdout)["error"]["message"]
        else:
            assert result.stdout == ""


def test_a_model_name_is_needed(invoke: Invoke) -> None:
    result = invoke("extract")
    assert result.exit_code == 2
    assert "--model-name" in result.stderr


def test_an_unknown_model_names_the_nearest(invoke: Invoke, tiny_source: Path) -> None:
    result = invoke("extract", "--model-name", "deepsek_v3", "--sglang", tiny_source)
    assert result.exit_code == 2
    assert "deepseek" in result.stderr
    assert "fibcore models" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{nonsense", ["not JSON", "line 1 column 2"]),
        ("[1]", ["JSON object"]),
        ("{}", ["architectures"]),
        (f'{{"architectures": ["TinyForCausalLM"], {SIZES}}}', ["hidden_size"]),
        (
            f'{{"architectures": ["TinyForCausalLM"], {SIZES}, "hidden_size": -64}}',
            ["hidden_size", "-64"],
        ),
    ],
)
def test_a_config_that_cannot_be_is_named_with_the_place(
    invoke: Invoke, tiny: list[object], tiny_config: Path, text: str, words: list[str]
) -> None:
    tiny_config.write_text(text)
    result = invoke("extract", *tiny)
    assert result.exit_code == 1, result.output
    for word in (*words, tiny_config.name):
        assert word in result.stderr
    assert not Path("repos").exists()


def test_a_key_that_the_model_reads_and_the_config_lacks_is_named(
    invoke: Invoke, tiny: list[object], tiny_config: Path
) -> None:
    data = json.loads(tiny_config.read_text())
    del data["num_key_value_heads"]
    tiny_config.write_text(json.dumps(data))
    result = invoke("extract", *tiny)
    assert result.exit_code == 1
    assert "num_key_value_heads" in result.stderr


def test_a_config_that_is_not_there(invoke: Invoke, tiny: list[object], tiny_config: Path) -> None:
    tiny_config.unlink()
    result = invoke("extract", *tiny)
    assert result.exit_code == 1
    assert str(tiny_config) in result.stderr


def test_heads_that_tp_does_not_divide_are_refused_with_the_numbers(
    invoke: Invoke, tiny: list[object]
) -> None:
    result = invoke("extract", *tiny, "--tp", "3")
    assert result.exit_code == 1
    for word in ("heads = 4", "tp = 3"):
        assert word in result.stderr
    result = invoke("extract", *tiny, "--tp", "1,3", "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert [(m["tp"], m["complete"]) for m in data["models"]] == [(1, True)]
    assert data["refused"][0]["tp"] == 3
    assert "heads = 4" in data["refused"][0]["error"]["found"]


def test_a_dataset_file_that_is_broken_is_named_and_the_rest_goes_on(
    invoke: Invoke, tiny: list[object]
) -> None:
    bad = Path("d/definitions/gemm/bad.json")
    bad.parent.mkdir(parents=True)
    bad.write_text('{"name": 1}')
    result = invoke("extract", *tiny, "--dataset", "d")
    assert result.exit_code == 1
    assert "definitions/gemm/bad.json" in result.stderr
    assert Path("d/definitions/gemm/gemm_n_128_k_64.json").exists()


def test_a_plugin_that_raises_is_named_and_the_others_go_on(
    invoke: Invoke, tiny: list[object], monkeypatch: pytest.MonkeyPatch, op_plugins: Registry
) -> None:
    class Bad:
        @hookimpl
        def fibcore_extract(self, tree: Any) -> Any:
            raise RuntimeError(f"cannot bear {tree.model}")

    extra = {p.name: __import__(f"fibcore_op_{p.name}") for p in op_plugins.plugins}
    registry = load_plugins(extra={**extra, "bad": Bad()}, discover=False)
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: registry)
    result = invoke("extract", *tiny, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["counts"]["new"] > 5
    for word in ("plugin bad", "fibcore_extract", "model tiny", "cannot bear tiny"):
        assert word in result.stderr
