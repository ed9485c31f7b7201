"""The dictionary of server arguments that older releases share between modules."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

SERVER = """
class ServerArgs:
    backend = None
    algorithm = None
    fusion = False
"""
FORMS = """
from enum import Enum
class Backend(Enum):
    NONE = "none"
    DEEPEP = "deepep"
    @classmethod
    def _missing_(cls, value):
        return cls.NONE
class Algorithm:
    def __init__(self, name):
        self.name = name or "none"
"""
RUNNER = """
from sglang.srt.forms import Algorithm, Backend
from sglang.srt.managers.schedule_batch import global_server_args_dict
class ModelRunner:
    def __init__(self, server_args, rank):
        self.algorithm = Algorithm(server_args.algorithm)
        self.rank = rank
        global_server_args_dict.update(
            {k: getattr(server_args, k) for k in ("fusion",)}
            | {
                "backend": Backend(server_args.backend),
                "algorithm": self.algorithm,
                "rank": self.rank,
            }
        )
"""
BEFORE = "from sglang.srt.managers.schedule_batch import global_server_args_dict as shared"


@pytest.fixture
def read(made: Any) -> Any:
    """A function from statements to the attributes that they set, in such a source."""
    made.write("srt/server_args.py", SERVER)
    made.write("srt/forms.py", FORMS)
    made.write("srt/model_executor/model_runner.py", RUNNER)
    made.write("srt/managers/schedule_batch.py", "global_server_args_dict = {}\n")
    return lambda body: made.attributes(body, BEFORE, version="0.5.1")


def test_fields_are_as_the_runner_puts_them_there(read: Any) -> None:
    found = read("self.x = shared['backend'].value\nself.y = shared['algorithm'].name")
    assert found == {"x": "none", "y": "none"}


def test_other_fields_are_those_of_the_server_arguments(read: Any) -> None:
    assert read("self.x = shared['fusion']\nself.y = shared.get('fusion', 3)") == {
        "x": False,
        "y": False,
    }


def test_what_a_model_writes_is_read_again(read: Any) -> None:
    assert read("shared['fusion'] = True\nself.x = shared['fusion']")["x"] is True


def test_what_the_runner_has_from_elsewhere_is_unknown(read: Any) -> None:
    found = read("self.x = shared['rank']\nself.y = 'fusion' in shared")
    assert isinstance(found["x"], Unknown)
    assert isinstance(found["y"], Unknown)
