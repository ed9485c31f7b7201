"""Tests of `fibcore.elaborate.sglang.launch.config_file`."""

from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.sglang.launch.config_file import with_config_file
from fibcore.errors import UsageError

YAML = """
model-path: some/model
tp_size: 8
enable-dp-attention: true
trust-remote-code: false
strict: false
cuda-graph-bs: [1, 2]
lora-paths: []
revision: null
json-model-override-args: {num_hidden_layers: 2}
"""


class Flags:
    """Stands for a release's command line, which knows which options are switches."""

    def is_switch(self, flag: str) -> bool:
        return flag in ("--enable-dp-attention", "--trust-remote-code", "--strict", "--no-strict")


PARSER: Any = Flags()


def test_a_yaml_file_gives_options(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(YAML)
    assert with_config_file(["--config", str(path)], PARSER) == [
        *("--model-path", "some/model", "--tp-size", "8", "--enable-dp-attention", "--no-strict"),
        *("--cuda-graph-bs", "1", "2"),
        *("--json-model-override-args", '{"num_hidden_layers": 2}'),
    ]


def test_a_json_file_gives_options(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text('{"tp_size": 8, "dp-size": 4, "enable-dp-attention": true}')
    found = with_config_file([f"--config={path}"], PARSER)
    assert found == ["--tp-size", "8", "--dp-size", "4", "--enable-dp-attention"]


def test_the_command_line_stands_behind_and_wins(tmp_path: Path) -> None:
    path = tmp_path / "server.yml"
    path.write_text("tp-size: 8")
    found = with_config_file(["--tp", "2", "--config", str(path), "--port", "1"], PARSER)
    assert found == ["--tp-size", "8", "--tp", "2", "--port", "1"]


def test_a_line_without_a_file_stays() -> None:
    assert with_config_file(["--tp", "2"], PARSER) == ["--tp", "2"]


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "server.yml"
    path.write_text("# nothing yet\n")
    assert with_config_file(["--config", str(path), "--tp", "2"], PARSER) == ["--tp", "2"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.yaml", "a: [", "cannot be read"),
        ("a.yaml", "- a", "holds no options"),
        ("a.yaml", "1: a", "holds no options"),
        ("a.json", "{'a': 1}", "cannot be read"),
    ],
)
def test_a_file_without_options_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        with_config_file(["--config", str(path)], PARSER)
    assert str(path) in str(caught.value.where)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the file of options"):
        with_config_file(["--config", str(tmp_path / "none.yaml")], PARSER)


@pytest.mark.parametrize("words", [["--config"], ["--config", "a.yaml", "--config", "b.yaml"]])
def test_one_file_alone(words: list[str]) -> None:
    with pytest.raises(UsageError, match="no file of options, or several"):
        with_config_file(words, PARSER)
