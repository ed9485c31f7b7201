"""Every command that README.md and docs/ show is run here, or it is said why not and where else.

What is run is read from the pages. Models are elaborated from a made-up SGLang, in which they are
small layers with the sizes of the real config; pages about what real sources have take a real one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from shown_commands import Shown, shown_commands

import fibcore
from fibcore.cli import cli
from fibcore.ops.registry import Registry
from fibcore.reports.survey.run import _here
from fibcore.testing.shares import thorough

ROOT = Path(__file__).parents[1]
MADE_UP = Path(__file__).with_name("data") / "sglang"
PAGES = ("README.md", "CONTRIBUTING.md", "data/evidence/README.md")
PAGES += tuple(sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")))
SHOWN = {page: shown_commands(ROOT / page, page) for page in PAGES}

NOT_RUN = {
    r"git clone URL": "this repository's own address is not known to it",
    r"make ": "tests run inside of what it makes",
    r"(\. \S+ && )?nox -s": "each is a session of its own",
    r"python3 -m venv|pip install": "tests/packaging install into environments of their own",
    r"cd ": "it says where the next command runs",
    r"grep -rn Yours:": "tests/scaffolding look for these marks",
    r"pytest ": "tests/verification run emitted tests, tests/packaging those of a new plugin",
    r"flashinfer-bench run": "it needs a GPU; tests/benchmarking load the dataset with it",
    r"(\w+=\S+ )+python -m sglang\.launch_server": "it needs a GPU",
    r"python tools/config_tables\.py": "it downloads releases of transformers",
    r"fibcore clone-repos": "it downloads; tests/sources have remotes of their own",
    r"fibcore verify": "tests/verification run it, for the tutorial tests/test_site.py",
    r"fibcore publish": "tests/publishing have a Hub of their own",
    r"fibcore import-workloads dumps": "tests/benchmarking have FlashInfer's dumps",
    r"fibcore import-trace (DUMP|\./fi_trace_out)": "tests/traces have FlashInfer's dumps",
    r"fibcore diff --model-name llama --trace": "tests/traces have FlashInfer's dumps",
}
"""Beginning of a command, as a pattern, to why it is not run here."""

REAL = ("--launch", "--tree", "add-reference-tests --op-type m")
"""What needs more of SGLang than the made-up one has."""

LONG = {("docs/survey.md", 0), ("README.md", 10)}
"""Blocks that take minutes where others stand in: both look at every model of the catalogue."""

PARTIAL = {"fibcore add-solutions --all"}
"""What ends with 1 here: FlashInfer has no kernels for heads as small as the made-up ones."""

MODELS = {
    "llama": ("LlamaForCausalLM",),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    "qwen2_moe": ("Qwen2MoeForCausalLM",),
    "qwen3_moe": ("Qwen3MoeForCausalLM",),
    "mixtral": ("MixtralForCausalLM",),
}
"""Model files of the made-up source, and the classes that each registers."""

CLASS = """\
class {}(TinyForCausalLM):
    def __init__(self, config, quant_config=None, prefix=""):
        super().__init__(config)  # plain weights, whatever the checkpoint has
"""

SITE = "export const models: Model[] = [\n]\n"


def program(shown: Shown) -> click.Command:
    """The command of fibcore that a line calls."""
    found = cli.get_command(click.Context(cli), shown.text.split()[1])
    assert found is not None, f"{shown.page}: there is no command as in {shown.text!r}"
    return found


@pytest.mark.parametrize("page", PAGES)
def test_options_that_are_shown_are_there(page: str, op_plugins: Registry) -> None:
    declared = {"--" + name.replace("_", "-") for name in op_plugins.options}
    for shown in SHOWN[page]:
        if shown.text.startswith("fibcore "):
            options = {o for p in program(shown).params for o in (*p.opts, *p.secondary_opts)}
            options |= declared
            line = re.sub(r'"[^"]*"|#.*', "", shown.text)
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line):
                assert option in options, f"{page}: {shown.text}: no such option {option}"


def test_what_is_not_run_is_shown_somewhere() -> None:
    lines = [shown.text for page in SHOWN.values() for shown in page]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, line) for line in lines), f"nothing shows {pattern!r} any more"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source that has the models that pages name, as small layers."""
    folder = tmp_path_factory.mktemp("made-up")
    shutil.copytree(MADE_UP, folder / "sglang")
    for name, classes in MODELS.items():
        lines = ["from sglang.srt.models.tiny import TinyForCausalLM\n"]
        lines += [CLASS.format(cls) for cls in classes]
        text = "\n\n".join([*lines, f"EntryClass = [{', '.join(classes)}]\n"])
        (folder / "sglang/srt/models" / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_up: Path, op_plugins: Registry
) -> Path:
    """A folder with all the files that commands name, and a dataset of Llama."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: op_plugins)
    # A survey's processes take seconds to start, and have tests of their own.
    monkeypatch.setattr(
        "fibcore.reports.survey.run.examine_all",
        lambda tasks, setup, *_: _here(tasks, setup.source, op_plugins),
    )
    source = tmp_path / "repos/sglang"
    source.parent.mkdir()
    source.symlink_to(made_up)
    config = (Path(__file__).with_name("data") / "tiny_config.json").read_text()
    for name in ("config.json", "old.json", "configs/tiny.json", "DIR/tiny.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(config)
    (tmp_path / "new.json").write_text(config.replace(": 64", ": 128"))
    (tmp_path / "web/apps/web/data").mkdir(parents=True)
    (tmp_path / "web/apps/web/data/models.ts").write_text(SITE)
    (tmp_path / "server.yaml").write_text("tp-size: 8\nmodel-path: deepseek-ai/DeepSeek-V3\n")
    fibcore.extract("llama", registry=op_plugins)
    shutil.copytree("repos/flashinfer-trace", "DATASET")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/models.md").write_text("# llama-3.1-8b\n\n32 layers, 8 KV heads\n")
    return tmp_path


def runnable() -> list[Any]:
    """The commands to type of each block of each page, without those that are not run."""
    found = [
        shown
        for shown in (one for page in SHOWN.values() for one in page)
        if not (shown.inline or shown.synopsis)
        and not any(re.match(pattern, shown.text) for pattern in NOT_RUN)
        and shown.page != "docs/tutorial.md"  # tests/test_site.py takes that one as a whole
    ]
    return [
        pytest.param(
            list(block), id=f"{page}-{number}", marks=[thorough] if (page, number) in LONG else []
        )
        for (page, number), block in groupby(found, lambda one: (one.page, one.block))
    ]


@pytest.mark.parametrize("block", runnable())
def test_commands_do_what_the_page_says(
    block: list[Shown], place: Path, made_up: Path, sglang: Callable[[str], Path]
) -> None:
    pytest.importorskip("numpy")
    source = place / "repos/sglang"
    for shown in block:
        real = any(text in shown.text for text in REAL)
        source.unlink()
        source.symlink_to(sglang("0.5.23") if real else made_up)
        if "add-reference-tests --op-type m" in shown.text:
            CliRunner().invoke(cli, ["extract", "--model-name", "deepseek_v3"])
        elsewhere = re.compile(r"pypi:sglang==\S+|https://github\.com/\S+")  # no network in tests
        words = [elsewhere.sub(str(made_up), word) for word in shown.words]
        where = f"{shown.page}: {shown.text}"
        assert words[0] == "fibcore", f"{where}: run it, or say in NOT_RUN why not"
        done = CliRunner().invoke(cli, words[1:], prog_name="fibcore")
        allowed = (0, 1) if " ".join(words) in PARTIAL else (0,)
        assert done.exit_code in allowed, f"{where}\n{done.output}"
