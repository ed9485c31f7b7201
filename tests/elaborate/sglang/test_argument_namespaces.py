"""Namespaces of server arguments that annotations of the fields name."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

ARGUMENTS = """
from typing import Annotated as A
class NS:
    pass
class Base:
    moved: A[str, "help", NS("exec")] = "base"
class ServerArgs(Base):
    model_path: A[str, "help", NS("model")]
    tp_size: A[int, "help", NS("parallel")] = 1
    nccl_port: A[int, "help", NS(path="parallel")] = 7
    runner: A[str, Arg(help="NS('no')"), NS("exec.moe.runner")] = "auto"
    moved: A[str, "help", NS("exec.moe")] = "own"
    plain: int = 3
"""
CONTEXT = """
class RuntimeContext:
    def __init__(self):
        self.parallel = None
    def config_bag(self, name):
        raise ValueError(name)
_CONTEXT = RuntimeContext()
def get_exec():
    return _CONTEXT.config_bag("exec")
def get_parallel():
    return _CONTEXT.parallel
def configured_tp_size():
    return _CONTEXT.parallel._config.tp_size
def port():
    return _CONTEXT.config_bag("parallel").nccl_port
"""
BEFORE = "from sglang.srt.runtime_context import *"


@pytest.fixture
def marked(made: Any) -> Any:
    """Made-up sources whose server arguments are marked with their namespaces."""
    made.write("srt/server_args.py", ARGUMENTS)
    made.write("srt/runtime_context.py", CONTEXT)
    return made


def read(marked: Any, expression: str, **sizes: int) -> Any:
    return marked.attributes(f"self.x = {expression}", BEFORE, version="0.5.18", **sizes)["x"]


def test_a_field_is_read_from_the_namespace_that_its_annotation_names(marked: Any) -> None:
    assert read(marked, "get_exec().moe.runner.runner") == "auto"
    assert read(marked, "get_parallel().nccl_port") == 7


def test_a_subclass_says_where_its_field_is(marked: Any) -> None:
    assert read(marked, "get_exec().moe.moved") == "own"
    assert isinstance(read(marked, "get_exec().moved"), Unknown)


def test_what_has_no_mark_is_in_no_namespace(marked: Any) -> None:
    assert isinstance(read(marked, "get_exec().plain"), Unknown)
    assert isinstance(read(marked, "get_exec().mo"), Unknown)


def test_the_source_reads_namespaces_of_its_own_context(marked: Any) -> None:
    assert read(marked, "configured_tp_size()", tp=4) == 4
    assert read(marked, "port()") == 7
