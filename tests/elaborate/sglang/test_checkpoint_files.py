"""A model that looks for files of its checkpoint finds those that the config stands for."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

LOOK = """
import os
from foreign import folder

def found(config):
    path = os.path.join({folder}, {name!r})
    if not os.path.exists(path):
        return 1
    return foreign.read(path)
"""


@pytest.mark.parametrize(
    ("folder", "name", "config", "known"),
    [
        ("folder()", "hf_quant_config.json", {}, True),
        ("folder()", "other.json", {}, False),
        ("'/somewhere'", "hf_quant_config.json", {}, False),
        # Where the config has a section, it may come from that file.
        (
            "folder()",
            "hf_quant_config.json",
            {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
            False,
        ),
    ],
)
def test_the_quantisation_file_is_not_there_where_the_config_has_no_section(
    made: Any, folder: str, name: str, config: dict[str, Any], known: bool
) -> None:
    before = LOOK.format(folder=folder, name=name)
    value = made.attributes("self.size = found(config)", before, config=config)["size"]
    assert value == 1 if known else isinstance(value, Unknown) or hasattr(value, "values")
