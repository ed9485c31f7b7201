"""Server arguments that a pass of the source resolves before a model is constructed."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

SERVER = """
class ServerArgs:
    model_path: str = None
    reduction: str = "auto"
    contested: str = "auto"
    left: str = "auto"
    file_said: str = "auto"
    plain: str = "rs"
"""
PASSES = """
def resolve_reduction(view):
    dummy = view.model_path.lower() == "dummy"
    config = None if dummy else model_config_of(view).hf_config
    return {"reduction": "ar" if config.hidden_size == 64 else view.plain}
def one(view):
    return {"contested": "one"}
def other(view):
    return {"contested": "other"}
def asks_the_machine(view):
    import foreign
    return {"file_said": foreign.open(view.model_path)}
def model_config_of(view):
    raise RuntimeError("needs a server")
"""
PIPELINE = """
def run(server_args):
    run_post_process_pass(server_args, resolve_reduction)
    run_post_process_pass(server_args, one)
    run_post_process_pass(server_args, other)
    run_post_process_pass(server_args, asks_the_machine)
"""


@pytest.fixture
def passes(made: Any) -> Any:
    """Made-up sources with passes that resolve server arguments."""
    made.write("srt/server_args.py", SERVER + "def get_server_args():\n    return None\n")
    made.write("srt/arg_groups/passes.py", PASSES)
    made.write("srt/arg_groups/pipeline.py", PIPELINE)
    return made


def read(passes: Any, name: str, **config: Any) -> Any:
    body = f"self.x = get_server_args().{name}"
    before = "from sglang.srt.server_args import get_server_args"
    return passes.attributes(body, before, config=config)["x"]


def test_a_pass_resolves_a_field_for_the_model_at_hand(passes: Any) -> None:
    assert read(passes, "reduction", hidden_size=64) == "ar"
    assert read(passes, "reduction", hidden_size=128) == "rs"


def test_a_field_that_no_pass_or_several_decide_stays(passes: Any) -> None:
    assert read(passes, "left") == "auto"
    assert read(passes, "contested") == "auto"


def test_a_field_whose_pass_asks_for_what_is_not_known_is_unknown(passes: Any) -> None:
    found = read(passes, "file_said")
    assert isinstance(found, Unknown)
    assert "asks_the_machine" in found.reason
