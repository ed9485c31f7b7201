"""Numbers remember where they came from, through whatever is done with them."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import origins_of


def test_a_scaled_tensor_keeps_its_shape(made: Any) -> None:
    before = "import torch"
    body = "self.x = (nn.Parameter(0.5 * torch.randn(4, 6)).shape, (torch.ones(3) * 2).shape)"
    assert made.attributes(body, before=before)["x"] == ((4, 6), (3,))


def test_a_model_of_transformers_keeps_its_config(made: Any) -> None:
    before = """
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    class Encoder(WhisperEncoder):
        def __init__(self, config):
            super().__init__(config)

    class Plain(nn.Module):
        def __init__(self, config):
            super().__init__(config)
    """
    body = """
    self.x = Encoder(config).config.hidden_size
    self.y = hasattr(Plain(config), "config")
    """
    found = made.attributes(body, before=before)
    assert (found["x"], found["y"]) == (64, False)


@pytest.mark.parametrize(
    ("expression", "value", "origins"),
    [
        ("config.hidden_size // config.num_attention_heads", 16, "hidden_size num_attention_heads"),
        (
            "(config.hidden_size // config.num_attention_heads) ** -0.5",
            0.25,
            "hidden_size num_attention_heads",
        ),
        ("max(1, config.num_attention_heads // 8)", 1, "num_attention_heads"),
        (
            "min(config.hidden_size, config.num_attention_heads)",
            4,
            "hidden_size num_attention_heads",
        ),
        ("int(config.hidden_size * 1.5)", 96, "hidden_size"),
        ("-config.hidden_size", -64, "hidden_size"),
        ("sum([config.hidden_size, config.hidden_size, 1])", 129, "hidden_size"),
        ("round(config.hidden_size / 3)", 21, "hidden_size"),
        ("math.ceil(config.hidden_size / 3)", 22, "hidden_size"),
        ("float(config.hidden_size)", 64.0, "hidden_size"),
        ("[config.hidden_size][0]", 64, "hidden_size"),
        ("[config.hidden_size] * 3", [64, 64, 64], "hidden_size"),
        ("f'{config.hidden_size}'", "64", "hidden_size"),
        ("str(config.hidden_size)", "64", "hidden_size"),
        ("double(config.hidden_size)", 128, "hidden_size"),
        ("config.hidden_size if config.num_attention_heads else 0", 64, "hidden_size"),
        ("getattr(config, 'hidden_size', 5)", 64, "hidden_size"),
        ("getattr(config, 'no_such_key', None) or config.hidden_size", 64, "hidden_size"),
        ("dict(a=config.hidden_size)['a']", 64, "hidden_size"),
        ("3 * 2", 6, ""),
    ],
)
def test_origins_go_through(made: Any, expression: str, value: Any, origins: str) -> None:
    before = "import math\ndef double(n):\n    return 2 * n"
    found = made.attributes(f"self.x = {expression}", before)["x"]
    assert found == value
    for part in found if isinstance(found, list) else [found]:
        assert origins_of(part) == {f"config:{key}" for key in origins.split()}


def test_serving_sizes_are_origins_too(made: Any) -> None:
    before = "from sglang.srt.distributed import get_tensor_model_parallel_world_size as tp"
    found = made.attributes("self.x = config.num_attention_heads // tp()", before, tp=2)["x"]
    assert found == 2
    assert origins_of(found) == {"config:num_attention_heads", "serving:tp"}
