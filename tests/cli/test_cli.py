"""The command line: options, exit statuses, one JSON document, and messages for bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fibcore.cli import cli
from fibcore.errors import FibcoreError
from fibcore.ops.checks import RESERVED
from fibcore.ops.hookspecs import hookimpl
from fibcore.ops.registry import Registry, load_plugins

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op_plugins: Registry) -> Invoke:
    """Run a command line in an empty folder, with the project's plugins."""
    monkeypatch.chdir(tmp_path)
    for module in (
        "fibcore.ops.registry",
        "fibcore.workspace",
    ):
        monkeypatch.setattr(f"{module}.load_plugins", lambda **_: op_plugins)

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="fibcore")

    return run


@pytest.fixture
def tiny(tiny_source: Path, tiny_config: Path) -> list[object]:
    """Options that name the made-up model."""
    return ["--model-name", "tiny", "--sglang", tiny_source, "--config", tiny_config]


def document(result: Result) -> Any:
    """The one JSON document on standard output."""
    return json.loads(result.stdout)


def test_help_lists_every_command(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert set(cli.commands) == {
        *("run", "clone-repos", "extract-kernel-definitions", "add-reference-tests", "verify"),
        *("report", "survey", "add-workloads", "add-solutions", "publish"),
        *("plugins", "models", "validate", "explain", "diff", "import-trace", "add-new-model"),
        *("coverage",),
    }
    for name in cli.commands:
        assert name in result.stdout


@pytest.mark.parametrize("name", sorted([*cli.commands, "extract", "add-tests"]))
def test_every_command_has_help_and_the_common_options(invoke: Invoke, name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    for option in ("--target-dir", "--dataset", "--json", "-q", "-v", "--disable-plugin"):
        assert option in result.stdout


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
    data = document(result)
    assert data["counts"]["new"] == len(data["definitions"])
    assert data["models"][0]["slug"] == "tiny"
    assert "gemm_n_128_k_64" in result.stderr
    again = document(invoke("extract", *tiny, "--json", "--dataset", "d"))
    assert {d["outcome"] for d in again["definitions"].values()} == {"unchanged"}


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
    data = document(result)
    assert list(data["definitions"]) == [
        "gqa_paged_decode_h4_kv2_d16_ps16",
        "gqa_paged_decode_h2_kv1_d16_ps16",
    ]
    assert data["dry_run"]
    assert not Path("repos").exists()


def test_an_op_type_is_one_of_several_of_its_plugin(invoke: Invoke, tiny: list[object]) -> None:
    data = document(invoke("extract", *tiny, "--json", "--dry-run", "--op-type", "gqa_ragged"))
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


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_no_option_of_an_op_type_can_clash_with_one_of_a_command(name: str) -> None:
    flags = {flag.lstrip("-") for p in cli.commands[name].params for flag in p.opts}
    own = {flag.replace("-", "_") for flag in flags if len(flag) > 1}
    placed = {flag for flag in own if flag.startswith("options_of_")}
    if placed:
        assert own - placed <= RESERVED


def test_gemm_shapes_of_a_rank(invoke: Invoke, tiny: list[object]) -> None:
    common = ("extract", *tiny, "--dry-run", "--json", "--tp", "2", "--op-type", "gemm")
    assert "gemm_n_128_k_64" in document(invoke(*common))["definitions"]
    ranked = document(invoke(*common, "--gemm-shapes", "rank"))["definitions"]
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
            assert document(result)["error"]["message"]
        else:
            assert result.stdout == ""


def test_a_model_name_is_needed(invoke: Invoke) -> None:
    result = invoke("extract")
    assert result.exit_code == 2
    assert "--model-name" in result.stderr


def test_an_unknown_command_names_the_nearest(invoke: Invoke) -> None:
    result = invoke("extrac")
    assert result.exit_code == 2
    assert "Did you mean extract" in result.stderr


def test_an_unknown_model_names_the_nearest(invoke: Invoke, tiny_source: Path) -> None:
    result = invoke("extract", "--model-name", "deepsek_v3", "--sglang", tiny_source)
    assert result.exit_code == 2
    assert "deepseek" in result.stderr
    assert "fibcore models" in result.stderr


SIZES = '"num_attention_heads": 4, "vocab_size": 8, "num_hidden_layers": 1'


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
    data = document(result)
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
    assert document(result)["counts"]["new"] > 5
    for word in ("plugin bad", "fibcore_extract", "model tiny", "cannot bear tiny"):
        assert word in result.stderr


def test_disable_plugin_leaves_one_out(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def load(**options: Any) -> Registry:
        seen.update(options)
        return load_plugins(discover=False)

    monkeypatch.setattr("fibcore.workspace.load_plugins", load)
    assert invoke("plugins", "--disable-plugin", "moe").exit_code == 0
    assert seen["disable"] == ("moe",)


def test_plugins_are_listed(invoke: Invoke) -> None:
    result = invoke("plugins")
    assert result.exit_code == 0
    assert "gqa_paged" in result.stdout
    data = document(invoke("plugins", "--json"))
    assert {p["name"] for p in data["plugins"]} == {"gemm", "gqa", "mla", "moe", "rmsnorm"}


def test_models_lists_catalogue_and_source(invoke: Invoke, tiny_source: Path) -> None:
    result = invoke("models")
    assert result.exit_code == 0
    assert "llama-3.1-8b" in result.stdout
    data = document(invoke("models", "--sglang", tiny_source, "--json"))
    assert data["files"] == {"tiny": ["TinyForCausalLM"]}
    assert any(entry["slug"] == "deepseek-v3" for entry in data["catalogue"])


def test_models_shows_a_hierarchy_with_repeated_layers_once(
    invoke: Invoke, tiny_source: Path, tiny_config: Path
) -> None:
    options = ("tiny", "--sglang", tiny_source, "--config", tiny_config)
    result = invoke("models", *options)
    assert result.exit_code == 0, result.output
    assert "[0-1] TinyLayer x2" in result.stdout
    assert "attn RadixAttention x2" in result.stdout
    rows = document(invoke("models", *options, "--json"))["rows"]
    attention = next(r for r in rows if r["cls"] == "RadixAttention")
    assert (attention["path"], attention["count"]) == ("layers.[0-1].attn", 2)
    assert invoke("models", "--tp", "2").exit_code == 2


def test_explain_shows_where_a_number_comes_from(invoke: Invoke, tiny: list[object]) -> None:
    invoke("extract", *tiny)
    result = invoke("explain", "gqa_paged_decode_h4_kv2_d16_ps1")
    assert result.exit_code == 0
    for word in ("num_kv_heads = 2", "config:num_key_value_heads", "tiny.py:", "2 layers"):
        assert word in result.stdout
    data = document(invoke("explain", "gqa_paged_decode_h4_kv2_d16_ps1", "--json"))
    assert data["provenance"][0]["constants"]["num_kv_heads"]["value"] == 2


def test_explain_of_an_unknown_name(invoke: Invoke, tiny: list[object]) -> None:
    assert invoke("explain", "gemm").exit_code == 1
    invoke("extract", *tiny)
    result = invoke("explain", "gemm_n_128_k_65")
    assert result.exit_code == 2
    assert "gemm_n_128_k_64" in result.stderr


def test_validate_accepts_what_extract_wrote_and_names_what_is_wrong(
    invoke: Invoke, tiny: list[object]
) -> None:
    invoke("extract", *tiny)
    result = invoke("validate")
    assert result.exit_code == 0, result.output
    path = Path("repos/flashinfer-trace/definitions/rmsnorm/rmsnorm_h64.json")
    path.write_text(path.read_text().replace('"var"', '"vary"'))
    result = invoke("validate", "--json")
    assert result.exit_code == 1
    (problem,) = [p for p in document(result)["problems"] if p["severity"] == "error"]
    assert problem["path"] == "definitions/rmsnorm/rmsnorm_h64.json"
    assert "vary" in problem["found"]


def test_validate_without_a_dataset(invoke: Invoke) -> None:
    result = invoke("validate")
    assert result.exit_code == 1
    assert "flashinfer-trace" in result.stderr


def test_add_tests_writes_modules(invoke: Invoke, tiny: list[object]) -> None:
    invoke("extract", *tiny)
    result = invoke("add-tests", "--op-type", "rmsnorm")
    assert result.exit_code == 0, result.output
    tests = Path("repos/flashinfer-trace/tests/references")
    assert {p.name for p in tests.iterdir()} == {"conftest.py", "test_rmsnorm.py"}
    definitions = Path("repos/flashinfer-trace/definitions").absolute()
    result = invoke("add-reference-tests", "--definitions-dir", definitions / "gemm", "--json")
    assert result.exit_code == 0, result.output
    assert (tests / "test_gemm.py").exists()
    assert "tests/references/test_gemm.py" in document(result)["written"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all", "--op-type", "gemm"],
        ["--all", "--tolerance", "x"],
        ["--all", "--tolerance", "-1"],
        ["--all", "--tolerance", "nan"],
        ["--op-type", "nonsense"],
        ["--definition-name", "nonsense"],
        ["--definitions-dir", "nowhere"],
    ],
)
def test_add_tests_with_wrong_usage(
    invoke: Invoke, tiny: list[object], arguments: list[str]
) -> None:
    invoke("extract", *tiny)
    result = invoke("add-tests", *arguments)
    assert result.exit_code == 2, result.output
    assert not Path("repos/flashinfer-trace/tests").exists()


def test_clone_repos_links_local_sources(invoke: Invoke, tiny_source: Path, tmp_path: Path) -> None:
    (tmp_path / "flashinfer" / "flashinfer").mkdir(parents=True)
    (tmp_path / "flashinfer" / "flashinfer" / "__init__.py").write_text("")
    (tmp_path / "trace" / "definitions").mkdir(parents=True)
    result = invoke(
        *("clone-repos", "--target-dir", "r", "--sglang", tiny_source),
        *("--flashinfer", tmp_path / "flashinfer", "--flashinfer-trace", tmp_path / "trace"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    data = document(result)
    assert data["repositories"]["sglang"]["status"] == "linked"
    written = json.loads(Path("r/repos_config.json").read_text())
    assert set(written["repositories"]) == {"sglang", "flashinfer", "flashinfer_trace"}


@pytest.mark.parametrize("source", ["ext::sh -c id", "--upload-pack=id", "pypi:sglang"])
def test_clone_repos_refuses_dangerous_and_wrong_sources(invoke: Invoke, source: str) -> None:
    result = invoke("clone-repos", f"--sglang={source}")
    assert result.exit_code == 2
    assert "--sglang" in result.stderr
    assert not Path("repos").exists()


def failing(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_error_is_shown_in_its_parts_and_as_a_traceback_only_on_request(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = FibcoreError("it broke", where="here", expected="x", found="y", hint="do z")
    monkeypatch.setattr("fibcore.workspace.plugins", failing(error))
    result = invoke("plugins")
    assert result.exit_code == 1
    assert result.stderr == "here: it broke\n  expected: x\n  found: y\n  to do: do z\n"
    assert "Traceback" in invoke("plugins", "-vv").stderr
    assert "Traceback" in invoke("plugins", "-v", "-v").stderr
    assert "Traceback" not in invoke("plugins", "-v").stderr
    data = document(invoke("plugins", "--json"))
    assert data["error"]["hint"] == "do z"
    assert data["exit_code"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_one_line_and_130(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(error))
    result = invoke("plugins")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted."


def test_the_disk_refusing_is_an_error_without_a_traceback(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(PermissionError(13, "No", "/x/y")))
    result = invoke("plugins")
    assert result.exit_code == 1
    assert result.stderr == "/x/y: No\n"


def test_a_defect_is_said_to_be_one(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.workspace.plugins", failing(ValueError("oh")))
    result = invoke("plugins", "--json")
    assert result.exit_code == 1
    assert "defect" in result.stderr
    assert document(result)["error"]["message"] == "ValueError: oh"
