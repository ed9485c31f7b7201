"""Environment variables that the server sets for the processes of a model."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

SERVER = """
import os
class ServerArgs:
    ssm_dtype: str = "float32"
    compiled: bool = False
    def _handle_environment_variables(self):
        os.environ["STATE_DTYPE"] = self.ssm_dtype
        os.environ["COMPILED"] = "1" if self.compiled else "0"
    def later(self):
        os.environ["LATER"] = "1"
"""


@pytest.fixture
def read(made: Any) -> Any:
    """A function from an expression to its value in a model of such a source."""
    made.write("srt/server_args.py", SERVER)
    return lambda text: made.attributes(f"self.x = {text}", "import os")["x"]


def test_a_variable_that_the_server_sets_is_read(read: Any) -> None:
    assert read("os.environ['STATE_DTYPE']") == "float32"
    assert read("os.environ.get('COMPILED')") == "0"
    assert read("os.getenv('COMPILED', '7')") == "0"
    assert read("'COMPILED' in os.environ") is True


def test_what_code_sets_is_read_and_may_be_removed(made: Any) -> None:
    made.write("srt/server_args.py", SERVER)
    body = (
        "os.environ['A'] = '1'\nos.environ.setdefault('B', '2')\nos.environ.setdefault('A', '3')\n"
        "os.environ['C'] = '4'\nself.gone = os.environ.pop('C')\n"
        "self.a, self.b, self.c = os.getenv('A'), os.environ['B'], 'C' in os.environ"
    )
    found = made.attributes(body, "import os")
    assert (found["a"], found["b"], found["c"], found["gone"]) == ("1", "2", False, "4")


def test_what_may_be_set_is_unknown(made: Any) -> None:
    made.write("srt/server_args.py", SERVER)
    body = "if time.time() > 1:\n    os.environ['A'] = '1'\nself.x = os.getenv('A', '0')"
    assert isinstance(made.attributes(body, "import os, time")["x"], Unknown)


def test_others_are_not_set(read: Any) -> None:
    assert read("os.getenv('LATER', 'unset')") == "unset"
    assert read("os.environ.get('HOME')") is None
    assert read("'HOME' in os.environ") is False


def test_one_that_is_not_set_raises_and_is_named(made: Any) -> None:
    made.write("srt/server_args.py", SERVER)
    body = "try:\n    self.x = os.environ['HOME']\nexcept KeyError:\n    self.x = 'none'"
    assert made.attributes(body, "import os")["x"] == "none"


OVERRIDES = """
from sglang.srt.environ import envs

def _register_for(*names):
    return lambda function: function

@_register_for("Model", "ModelMTP")
def _model_overrides(server_args, hf_config):
    envs.WANTED.set(True)
    if server_args.speculative:
        envs.DOUBTFUL.set(True)
    return {}

@_register_for("Another")
def _other_overrides(server_args, hf_config):
    envs.OTHER.set(True)
    return {}
"""


@pytest.mark.parametrize("file", ["overrides.py", "model_overrides/made.py"])
def test_what_the_overrides_of_an_architecture_set_is_read(made: Any, file: str) -> None:
    made.write("srt/server_args.py", SERVER)
    made.write(f"srt/arg_groups/{file}", OVERRIDES)
    body = "\n".join(
        f"self.{n.lower()} = os.getenv({n!r})" for n in ("WANTED", "DOUBTFUL", "OTHER")
    )
    found = made.attributes(body, "import os")
    assert (found["wanted"], found["other"]) == ("True", None)
    assert isinstance(found["doubtful"], Unknown)
