"""One elaboration: what its errors say, and what the model class is given."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import (
    ConfigError,
    ElaborationError,
    ServingError,
    UnknownModelError,
)
from fibcore.model.tree import Unknown


def test_an_assertion_that_fails_names_the_numbers(made: Any) -> None:
    body = "assert config.num_attention_heads % 3 == 0, 'odd'\nself.x = 1"
    with pytest.raises(ConfigError) as caught:
        made.attributes(body)
    assert "config.num_attention_heads = 4" in str(caught.value)
    assert "made.py:7" in str(caught.value)


def test_a_config_that_the_model_refuses(made: Any) -> None:
    body = "if config.num_attention_heads == 4:\n    raise ValueError(f'no {config.hidden_size}')"
    with pytest.raises(ConfigError, match="refuses") as caught:
        made.attributes(body)
    assert caught.value.found == "no 64"
    assert not isinstance(caught.value, ServingError)


def test_sizes_that_do_not_fit_are_an_error_of_serving(made: Any) -> None:
    before = "from sglang.srt.distributed import get_tensor_model_parallel_world_size"
    body = (
        "tp = get_tensor_model_parallel_world_size()\nassert config.num_attention_heads % tp == 0"
    )
    made.attributes(body, before, tp=2)
    with pytest.raises(ServingError) as caught:
        made.attributes(body, before, tp=8)
    message = str(caught.value)
    for part in ("tp=8", "num_attention_heads = 4", "tp = 8", "made.py:8"):
        assert part in message


def test_what_cannot_be_at_any_size_is_no_error_of_serving(made: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        made.attributes("self.x = config.heads", tp=2)
    assert not isinstance(caught.value, ServingError)


def test_other_exceptions_of_the_constructor(made: Any) -> None:
    with pytest.raises(ElaborationError, match="cannot be elaborated") as caught:
        made.attributes("self.x = None\nself.x.append(1)")
    assert "AttributeError" in str(caught.value)
    assert "made.py:8" in str(caught.value)


def test_an_unknown_architecture_names_the_nearest(made: Any) -> None:
    source = "class Other:\n    pass\n\nEntryClass = [Other]\n"
    with pytest.raises(UnknownModelError) as caught:
        made.tree(source, config={"architectures": ["Othre"]})
    assert "Other" in str(caught.value)


def test_constructor_arguments_that_nobody_gives_are_not_known(made: Any) -> None:
    tree = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n"
        "    def __init__(self, config, extra, b=2):\n"
        "        super().__init__()\n        self.x = (extra, b)\nEntryClass = Model\n"
    )
    extra, b = tree.root.attributes["x"]
    assert isinstance(extra, Unknown)
    assert b == 2
