"""Facts that the source contradicts."""

from __future__ import annotations

from typing import Any

MODEL = """
from torch import nn
from sglang.srt.runtime_context import *
class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.x = {value}
EntryClass = Model
"""
GETTERS = """
get_context get_parallel get_exec get_device get_model get_schedule get_memory get_spec get_lora
get_mm get_disagg get_serving get_observability get_forward get_resources get_stream
"""
CONTEXT = "".join(f"def {name}():\n    pass\n" for name in GETTERS.split())


def warnings(made: Any, value: str, context: str, version: str = "0.5.18") -> tuple[str, ...]:
    made.write("srt/runtime_context.py", context)
    found: tuple[str, ...] = made.tree(MODEL.format(value=value), version=version).warnings
    return found


def test_a_namespace_that_nothing_declares_is_named(made: Any) -> None:
    context = f"{CONTEXT}def get_flags():\n    pass\n"
    (warning,) = warnings(made, "get_exec().moe", context)
    assert "namespace exec of server arguments" in warning
    assert "0.5.18" in warning


def test_a_class_that_is_not_there_is_named(made: Any) -> None:
    context = f"{CONTEXT}def get_flags():\n    pass\n"
    value = "(get_flags().moe, get_flags().moe)"
    (warning,) = warnings(made, value, context)
    assert "class sglang.srt.runtime_context.Flags" in warning


def test_a_function_that_each_release_has_is_named_where_it_is_not_there(made: Any) -> None:
    (warning,) = warnings(made, "get_context()", CONTEXT)
    assert "get_flags of sglang.srt.runtime_context" in warning


def test_what_nothing_asked_for_is_no_contradiction(made: Any) -> None:
    context = f"{CONTEXT}def get_flags():\n    pass\n"
    assert warnings(made, "get_context()", context) == ()
    assert made.tree(MODEL.format(value="1").replace("import *", "import x")).warnings == ()


def test_a_function_is_missed_only_on_releases_that_have_it(made: Any) -> None:
    # 0.5.17 has no get_platform yet, 0.5.19 has.
    context = f"{CONTEXT}def get_flags():\n    pass\n"
    assert warnings(made, "get_context()", context, "0.5.17") == ()
    (warning,) = warnings(made, "get_context()", context, "0.5.19")
    assert "get_platform of sglang.srt.runtime_context" in warning
