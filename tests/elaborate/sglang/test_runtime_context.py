"""Flags of the process-wide context, and what changes them while a model is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

SERVER = """
class ServerArgs:
    ep_size = 1
    page_size = None
    moe_runner_backend = "auto"
    disable_fusion = False
"""
CONTEXT = """
import dataclasses
@dataclasses.dataclass
class MoeFlags:
    runner_backend: str = "stale"
    ep_size: int = 9
@dataclasses.dataclass
class Flags:
    moe: MoeFlags = dataclasses.field(default_factory=MoeFlags)
    ep_size: int = 1
    page_size: int | None = None
    disable_fusion: bool = False
    alone: int = 5
FLAG_LEAF_MAP = {"moe_runner_backend": "moe.runner_backend"}
class RuntimeContext:
    def __init__(self):
        self.flags = Flags()
_CONTEXT = RuntimeContext()
def get_context():
    return _CONTEXT
def get_flags():
    return _CONTEXT.flags
"""
OVERRIDES = """
def declare(source, declared):
    from sglang.srt.runtime_context import get_context
    ctx = get_context()
    entry = (source, dict(declared))
    for field, value in declared.items():
        setattr(ctx.server_args, field, value)
    ctx.record_runtime_overrides([entry])
"""
LOADER = """
from sglang.srt.runtime_context import get_flags
def install(model_class, config, quant_config):
    gate = getattr(model_class, "why_not", None)
    get_flags().disable_fusion = gate is not None and bool(gate(config, quant_config))
def _initialize_model(model_config, load_config, quant_config=None):
    model_class, _ = foreign(model_config)
    install(model_class, model_config.hf_config, quant_config)
    return model_class(config=model_config.hf_config, quant_config=quant_config)
"""
BEFORE = (
    "from sglang.srt.runtime_context import get_context, get_flags\n"
    "from sglang.srt.overrides import declare\n"
)


@pytest.fixture
def flagged(made: Any) -> Any:
    """Made-up sources with flags that repeat server arguments."""
    made.write("srt/server_args.py", SERVER)
    made.write("srt/runtime_context.py", CONTEXT)
    made.write("srt/overrides.py", OVERRIDES)
    return made


def run(flagged: Any, body: str, **options: Any) -> Any:
    return flagged.attributes(body, BEFORE, version="0.5.15", **options)


def test_flags_repeat_server_arguments(flagged: Any) -> None:
    flags = run(
        flagged,
        "f = get_flags()\n"
        "self.x = (f.ep_size, f.alone, f.moe.runner_backend, f.moe.ep_size)\n"
        "self.page = f.page_size",
        tp=4,
        ep=2,
    )
    assert flags["x"] == (2, 5, "auto", 9)
    assert isinstance(flags["page"], Unknown)


def test_flags_have_their_defaults_where_nothing_maps_them_to_arguments(flagged: Any) -> None:
    flagged.write("srt/runtime_context.py", CONTEXT.replace("FLAG_LEAF_MAP", "OTHER"))
    assert run(flagged, "self.x = get_flags().moe.runner_backend")["x"] == "stale"


@pytest.mark.parametrize("asked", ["", "get_flags()\n"])
def test_what_a_model_declares_reaches_the_flags(flagged: Any, asked: str) -> None:
    body = (
        "declare('here', {'disable_fusion': True, 'moe_runner_backend': 'other'})\n"
        "self.x = (get_flags().disable_fusion, get_flags().moe.runner_backend)\n"
        "self.y = get_context().server_args.disable_fusion"
    )
    found = run(flagged, asked + body)
    assert found["x"] == (True, "other")
    assert found["y"] is True


def test_a_declaration_that_is_not_known_leaves_no_flag_known(flagged: Any) -> None:
    body = (
        "before = get_flags().disable_fusion\n"
        "get_context().record_runtime_overrides(foreign.entries())\n"
        "self.x = (before, get_flags().alone)\n"
        "self.y = get_flags().disable_fusion"
    )
    found = run(flagged, body)
    assert found["x"] == (False, 5)
    assert isinstance(found["y"], Unknown)


@pytest.mark.parametrize(("answer", "disabled"), [("'no'", True), ("None", False)])
def test_the_loader_settles_flags_before_it_constructs_the_model(
    flagged: Any, answer: str, disabled: bool
) -> None:
    flagged.write("srt/model_loader/loader.py", LOADER)
    tree = flagged.tree(
        "from torch import nn\nfrom sglang.srt.runtime_context import get_flags\n"
        "class Model(nn.Module):\n    @classmethod\n    def why_not(cls, config, quant):\n"
        f"        return {answer} if config.hidden_size == 64 else foreign()\n"
        "    def __init__(self, config):\n        super().__init__()\n"
        "        self.x = get_flags().disable_fusion\n"
        "EntryClass = Model\n",
        version="0.5.18",
    )
    assert tree.root.attributes["x"] is disabled


def test_namespaces_follow_what_a_model_overrides(flagged: Any) -> None:
    marked = SERVER.replace(
        "disable_fusion = False", 'disable_fusion: A[bool, "help", NS("exec.moe")] = False'
    )
    flagged.write("srt/server_args.py", marked)
    flagged.write(
        "srt/runtime_context.py",
        CONTEXT + "def get_exec():\n    return _CONTEXT.config_bag('exec')\n",
    )
    found = flagged.attributes(
        "self.before = get_exec().moe.disable_fusion\n"
        "get_context().override('model', disable_fusion=True)\n"
        "self.x = (get_exec().moe.disable_fusion, get_flags().disable_fusion)\n"
        "self.given = get_context().server_args.disable_fusion",
        BEFORE.replace("get_context,", "get_context, get_exec,"),
        version="0.5.17",
    )
    assert found["before"] is False
    assert found["x"] == (True, True)
    assert found["given"] is False
