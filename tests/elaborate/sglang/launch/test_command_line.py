"""Tests of `fibcore.elaborate.sglang.launch.command_line`, with the options of real releases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.launching import read_launch
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.patterns import charging
from fibcore.elaborate.recursion import deep_recursion
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.index import SourceIndex
from fibcore.elaborate.sglang.launch.command_line import CommandLine
from fibcore.errors import UsageError
from fibcore.model.serving import Serving
from fibcore.sources.tree import tree_at

Given = Callable[[str], dict[str, Any]]
"""From words of a launch line to what they give."""


def parser(folder: Path) -> Given:
    ev = Evaluator(SourceIndex(folder / "sglang"), Environment(Serving(), folder.name[7:]))
    with deep_recursion(), charging(ev.budget.spend):
        line = CommandLine(ev, "SGLang")

    def given(words: str) -> dict[str, Any]:
        with deep_recursion(), charging(ev.budget.spend):
            return line.values(words.split())

    return given


@pytest.fixture(scope="module")
def given(sglang_source: Path) -> Given:
    return parser(sglang_source)


@pytest.fixture(scope="module")
def newest(sglang: Callable[[str], Path]) -> Given:
    return parser(sglang("0.5.23"))


def test_options_and_aliases_are_fields_of_server_arguments(sglang_source: Path) -> None:
    read = read_launch(
        tree_at(sglang_source / "sglang", "sglang", "tests"),
        "python -m sglang.launch_server --model some/model --tensor-parallel-size 8 --ep=4 "
        "--dp 2 --enable-dp-attention --kv-cache-dtype fp8_e4m3 --page-size 64",
    )
    assert (read.model, read.tp, read.ep) == ("some/model", 8, 4)
    assert read.launch.given == {
        "dp_size": 2,
        "enable_dp_attention": True,
        "kv_cache_dtype": "fp8_e4m3",
        "page_size": 64,
    }


def test_what_is_left_out_is_no_option(given: Given) -> None:
    assert given("--trust-remote-code") == {"trust_remote_code": True}


def test_values_have_the_types_that_the_source_declares(given: Given) -> None:
    found = given("--mem-fraction-static 0.8 --max-running-requests 32 --lora-paths a=b c=d")
    assert found == {
        "mem_fraction_static": 0.8,
        "max_running_requests": 32,
        "lora_paths": ["a=b", "c=d"],
    }


def test_an_unknown_option_names_the_nearest(given: Given) -> None:
    with pytest.raises(UsageError) as caught:
        given("--tp 8 --enable-dp-atention")
    assert "--enable-dp-attention" in str(caught.value.expected)
    assert caught.value.where == "--launch --enable-dp-atention"


def test_a_word_that_belongs_to_no_option_is_refused(given: Given) -> None:
    with pytest.raises(UsageError, match="belongs to no option"):
        given("--tp 8 8")


@pytest.mark.parametrize(
    ("line", "option", "expected"),
    [
        ("--tp eight", "--tp", "int"),
        ("--kv-cache-dtype fp9", "--kv-cache-dtype", "fp8_e5m2, fp8_e4m3"),
        ("--attention-backend cuda", "--attention-backend", "flashinfer"),
        ("--page-size", "--page-size", "int"),
    ],
)
def test_a_wrong_value_says_where_and_what_was_expected(
    given: Given, line: str, option: str, expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        given(line)
    assert option in str(caught.value.where)
    assert expected in str(caught.value.expected)


def test_sizes_are_positive(sglang: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="positive integer"):
        read_launch(tree_at(sglang("0.5.9") / "sglang", "sglang", "tests"), "--tp 0")


def test_the_sources_own_functions_read_values(newest: Given) -> None:
    assert newest("--context-length 8Ki") == {"context_length": 8192}
    with pytest.raises(UsageError) as caught:
        newest("--context-length 1.5Ki")
    assert "IEC" in str(caught.value.found)


def test_switches_with_a_negation(newest: Given) -> None:
    assert newest("--no-lora-strict-loading") == {"lora_strict_loading": False}
    assert newest("--lora-strict-loading") == {"lora_strict_loading": True}


def test_retired_options_do_what_the_source_makes_of_them(newest: Given) -> None:
    assert newest("--monokernel-backend amd") == {"enable_amd_monokernel": True}
    assert newest("--enable-dp-attention") == {"enable_dp_attention": True}
