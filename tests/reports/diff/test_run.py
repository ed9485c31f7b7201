"""`diff`: two sources, two models and two configs of a made-up model, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from fibcore.cli import cli
from fibcore.errors import FibcoreError, UnknownModelError, UsageError
from fibcore.ops.registry import Registry
from fibcore.reports.diff import Change, DiffReport, diff

if TYPE_CHECKING:
    from browser import Browser

Compare = Callable[..., DiffReport]


@pytest.fixture
def other_source(tiny_source: Path) -> Path:
    """A second copy of the made-up SGLang; a test may change it."""
    return Path(shutil.copytree(tiny_source, tiny_source.with_name("other-source")))


@pytest.fixture
def compare(
    tiny_source: Path,
    other_source: Path,
    tiny_config: Path,
    tmp_path: Path,
    plugins_but_embedding: Registry,
) -> Compare:
    """Compare the model `tiny` on both sources."""

    def run(**options: Any) -> DiffReport:
        given: dict[str, Any] = {
            "sglang": (str(tiny_source), str(other_source)),
            "config": tiny_config,
            "target_dir": tmp_path,
            "registry": plugins_but_embedding,
            **options,
        }
        return diff(given.pop("model_name", "tiny"), **given)

    return run


def edit(source: Path, old: str, new: str) -> None:
    """Change the model file of a source."""
    path = source / "sglang/srt/models/tiny.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def changes(report: DiffReport, *, moved: bool = False) -> dict[tuple[str, str], Change]:
    """The changes by kind and role; those of source lines alone only where `moved`."""
    (pair,) = report.models
    found: dict[tuple[str, str], Change] = {
        (c.kind, c.role): c for c in pair.changes if moved or c.kind != "moved"
    }
    assert len(found) == sum(moved or c.kind != "moved" for c in pair.changes)
    return found


def test_equal_sources_do_not_differ(compare: Compare) -> None:
    report = compare()
    assert report.mode == "sources"
    assert not report.differs
    assert report.exit_code == 0
    (pair,) = report.models
    assert len(pair.kernels) == 11
    assert not pair.changes
    assert not pair.vanish
    assert not pair.appear


def test_source_lines_alone_are_moves_and_no_difference(
    compare: Compare, other_source: Path
) -> None:
    edit(other_source, "class TinyLayer", "\n\nclass TinyLayer")
    report = compare()
    assert not report.differs
    found = changes(report, moved=True)
    assert {kind for kind, _ in found} == {"moved"}
    change = found["moved", "layers.*.qkv_proj"]
    lines = [int(side[0].where.rpartition(":")[2]) for side in (change.before, change.after)]
    assert lines[1] == lines[0] + 2
    assert change.before[0].where.startswith("sglang/srt/models/tiny.py:")


def test_another_kernel_in_a_role_is_a_replacement_with_both_lines(
    compare: Compare, other_source: Path
) -> None:
    old = "        self.o_proj = RowParallelLinear(\n            config.hidden_size,\n"
    edit(other_source, old, old.replace("config.hidden_size", "2 * config.hidden_size"))
    report = compare()
    assert report.differs
    assert report.exit_code == 0
    found = changes(report)
    assert set(found) == {("replaced", "layers.*.o_proj")}
    change = found["replaced", "layers.*.o_proj"]
    assert [o.what for o in change.before] == ["gemm_n_64_k_64"]
    assert [o.what for o in change.after] == ["gemm_n_64_k_128"]
    assert change.before[0].layers == 2
    assert change.before[0].paths == ("layers.{0-1}.o_proj",)
    assert change.after[0].where.startswith("sglang/srt/models/tiny.py:")
    (pair,) = report.models
    assert (pair.vanish, pair.appear) == (("gemm_n_64_k_64",), ("gemm_n_64_k_128",))


def test_the_page_shows_what_differs_and_fits_every_window(
    compare: Compare, other_source: Path, tmp_path: Path, browser: Browser
) -> None:
    old = "        self.o_proj = RowParallelLinear(\n            config.hidden_size,\n"
    edit(other_source, old, old.replace("config.hidden_size", "2 * config.hidden_size"))
    page = tmp_path / "pages/diff.html"
    report = compare(output=page)
    assert report.output == str(page)
    assert browser.layout_faults(page) == []
    browser.look(width=1280, height=900)
    browser.choose("[data-table=changes-0] [data-key=change]", "replaced")
    rows = "#table-changes-0 .item:not([hidden])"
    assert browser.shown(f"{rows} td:nth-child(3)") == ["gemm_n_64_k_64 (2)"]
    browser.find(f"{rows} button.toggle").click()
    assert "layers.{0-1}.o_proj" in browser.find(f"{rows} div.detail").text
    browser.type("input.find", "gemm_n_64_k_128")
    assert browser.shown("#table-kernels-0 .item > *") == ["gemm_n_64_k_128", "after"]


def test_a_role_of_one_side_appears_or_vanishes(compare: Compare, other_source: Path) -> None:
    edit(other_source, "self.qkv_proj", "self.in_proj")
    found = changes(compare())
    assert set(found) == {("vanishes", "layers.*.qkv_proj"), ("appears", "layers.*.in_proj")}
    assert found["vanishes", "layers.*.qkv_proj"].after == ()
    assert found["appears", "layers.*.in_proj"].before == ()
    # The kernel itself is on both sides.
    assert not compare().models[0].vanish


def test_parameters_that_names_do_not_tell_are_changes(
    compare: Compare, tiny_config: Path, tiny_source: Path
) -> None:
    data = json.loads(tiny_config.read_text())
    other = {**data, "rms_norm_eps": 1e-6}
    report = compare(sglang=str(tiny_source), config=(tiny_config, other))
    assert report.mode == "configs"
    found = changes(report)
    assert set(found) == {("changed", "layers.*.norm"), ("changed", "norm")}
    change = found["changed", "norm"]
    assert "1e-05 -> 1e-06" in change.details[0]
    assert change.before[0].what == change.after[0].what == "fused_add_rmsnorm_h64"


def test_the_scale_of_attention_is_compared(compare: Compare, other_source: Path) -> None:
    edit(other_source, "dim**-0.5", "0.5")
    found = changes(compare())
    assert {role for _, role in found} == {"layers.*.attn"}
    assert any("sm_scale: 0.25 -> 0.5" in d for c in found.values() for d in c.details)


def test_the_number_of_layers_is_compared(
    compare: Compare, tiny_config: Path, tiny_source: Path
) -> None:
    data = json.loads(tiny_config.read_text())
    report = compare(sglang=str(tiny_source), config=(data, {**data, "num_hidden_layers": 5}))
    change = changes(report)["changed", "layers.*.o_proj"]
    assert change.details == ("layers: 2 -> 5",)
    assert ("changed", "norm") not in changes(report)  # it is there once on both sides


def test_what_is_not_covered_is_compared_with_its_reason(
    compare: Compare, other_source: Path
) -> None:
    attention = "self.attn = RadixAttention("
    edit(other_source, attention, f"self.alibi_slopes = [0.5]\n        {attention}")
    change = changes(compare())["replaced", "layers.*.attn"]
    assert {o.kind for o in change.before} == {"kernel"}
    assert {o.kind for o in change.after} == {"not covered"}
    assert change.after[0].reason


def test_layers_that_no_plugin_knows_are_compared(compare: Compare, other_source: Path) -> None:
    edit(
        other_source,
        "self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size)",
        "self.embed_tokens = None",
    )
    change = changes(compare())["vanishes", "embed_tokens"]
    assert change.before[0].kind == "no plugin"
    assert change.before[0].what == "VocabParallelEmbedding"


def test_a_partial_side_is_shown_and_is_a_failure(compare: Compare, other_source: Path) -> None:
    edit(other_source, "from torch import nn", "from torch import nn\nfrom foreign import Norm")
    old = (
        "self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)\n\n    def forward(self, "
    )
    edit(other_source, f"{old}input_ids", "self.norm = Norm()\n\n    def forward(self, input_ids")
    report = compare()
    assert report.exit_code == 1
    assert report.failures[0].startswith("after: tiny (TP 1, EP 1) is partial")
    change = changes(report)["replaced", "norm"]
    assert change.before[0].kind == "kernel"
    assert change.after[0].kind == "missing"
    assert change.after[0].reason


def test_a_combination_that_one_side_refuses_is_a_failure(
    compare: Compare, other_source: Path
) -> None:
    edit(other_source, "assert heads % tp == 0", "assert tp == 1")
    report = compare(tp=(1, 2))
    assert [pair.before.tp for pair in report.models] == [1]
    assert [(side, r.tp) for side, r in report.refused] == [("after", 2)]
    assert report.unpaired == ()  # the refusal says it
    assert report.exit_code == 1


def test_a_model_that_no_side_has_is_an_error(compare: Compare) -> None:
    with pytest.raises(UnknownModelError):
        compare(model_name="nothing-like-it", config=None)


def test_a_model_that_one_source_has_is_a_failure_and_the_others_go_on(
    compare: Compare, tiny_source: Path, other_source: Path, tiny_config: Path
) -> None:
    (tiny_source / "sglang/srt/models/tiny.py").rename(tiny_source / "sglang/srt/models/renamed.py")
    edit_class = other_source / "sglang/srt/models/tiny.py"
    assert "TinyForCausalLM" in edit_class.read_text()
    text = (tiny_source / "sglang/srt/models/renamed.py").read_text()
    (tiny_source / "sglang/srt/models/renamed.py").write_text(
        text.replace("TinyForCausalLM", "OtherForCausalLM")
    )
    data = json.loads(tiny_config.read_text())
    report = compare(config=data)
    assert report.models == ()
    assert [side for side, _ in report.refused] == ["before"]
    assert report.exit_code == 1


def test_two_models_are_compared_at_the_sizes_of_each(
    compare: Compare, tiny_source: Path, tiny_config: Path
) -> None:
    data = json.loads(tiny_config.read_text())
    report = compare(
        model_name=("one", "other"),
        sglang=str(tiny_source),
        config=(data, {**data, "hidden_size": 128}),
    )
    assert report.mode == "models"
    (pair,) = report.models
    assert (pair.before.slug, pair.after.slug) == ("one", "other")
    assert pair.label == "one (TP 1, EP 1) -> other (TP 1, EP 1)"
    change = changes(report)["replaced", "layers.*.o_proj"]
    assert [o.what for o in change.after] == ["gemm_n_128_k_128"]


@pytest.mark.parametrize(
    "options",
    [
        {"sglang": "a"},
        {"model_name": ("a", "b"), "sglang": ("a", "b"), "config": (None, None)},
        {"model_name": ("a", "b", "c"), "sglang": "a", "config": None},
        {"model_name": ("a", "b"), "sglang": "a"},
        {"sglang": ("a", "b", "c")},
        {"sglang": ("a", "b"), "trace": "t"},
        {"model_name": ()},
    ],
)
def test_exactly_one_thing_has_two_sides(compare: Compare, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        compare(**options)


def test_nothing_is_written(
    compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    compare()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def invoke(
    tiny_source: Path,
    other_source: Path,
    tiny_config: Path,
    tmp_path: Path,
    plugins_but_embedding: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Result]:
    """Run `fibcore diff` on the two sources."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: plugins_but_embedding)

    def run(*args: object, names: tuple[str, ...] = ("tiny",), **_: Any) -> Result:
        line: list[object] = ["diff", "--sglang", tiny_source, "--sglang", other_source]
        line += ["--config", tiny_config]
        for name in names:
            line += ["--model-name", name]
        return CliRunner().invoke(cli, [str(a) for a in (*line, *args)], prog_name="fibcore")

    return run


def test_exit_code_is_asked_for(invoke: Callable[..., Result], other_source: Path) -> None:
    assert invoke("--exit-code").exit_code == 0
    edit(other_source, "self.qkv_proj", "self.in_proj")
    assert invoke().exit_code == 0
    assert invoke("--exit-code").exit_code == 1


def test_lines_show_both_sides_and_moves_only_when_asked(
    invoke: Callable[..., Result], other_source: Path
) -> None:
    edit(other_source, "self.qkv_proj", "self.in_proj")
    edit(other_source, "class TinyLayer", "\n\nclass TinyLayer")
    text = invoke().stdout
    assert "vanishes layers.*.qkv_proj" in text
    assert "    -  gemm  gemm_n_128_k_64  2  sglang/srt/models/tiny.py:" in text
    assert "    +  gemm  gemm_n_128_k_64  2  sglang/srt/models/tiny.py:" in text
    assert "\n  moved " not in text
    assert "(-v shows them)" in text
    assert "\n  moved layers.*.o_proj" in invoke("-v").stdout
    assert invoke("-q").stdout.count("\n") == 1


def test_json_is_one_document(invoke: Callable[..., Result], other_source: Path) -> None:
    edit(other_source, "self.qkv_proj", "self.in_proj")
    result = invoke("--json")
    data = json.loads(result.stdout)
    assert data["mode"] == "sources"
    assert data["differs"] is True
    assert {c["kind"] for c in data["models"][0]["changes"]} >= {"appears", "vanishes"}
    assert "vanishes layers.*.qkv_proj" in result.stderr


def test_a_config_can_be_named_for_one_of_two_models(
    tiny_source: Path,
    tiny_config: Path,
    tmp_path: Path,
    plugins_but_embedding: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: plugins_but_embedding)
    line = ["diff", "--target-dir", tmp_path, "--sglang", tiny_source]
    line += ["--model-name", "one", "--model-name", "two", "--config", f"two={tiny_config}"]

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(a) for a in (*line, *args)], prog_name="fibcore")

    named = run("--config", f"one={tiny_config}", "--json")
    assert named.exit_code == 0, named.output
    assert json.loads(named.stdout)["models"][0]["after"]["model"] == "two"
    missing = run("--json")  # the name `one` alone stands for nothing
    assert missing.exit_code == 1
    assert [r["side"] for r in json.loads(missing.stdout)["refused"]] == ["before"]
    assert run("--config", tiny_config).exit_code == 2
    assert run("--config", f"two={tiny_config}").exit_code == 2


def test_errors_are_fibcore_errors(compare: Compare, tmp_path: Path) -> None:
    with pytest.raises(FibcoreError):
        compare(sglang=(str(tmp_path / "nowhere"), str(tmp_path / "nowhere")))
