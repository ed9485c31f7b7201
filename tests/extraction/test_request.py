"""What is asked of models: sizes, op types, options, and the config of the one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import ResolvedModel
from fibcore.configs.model_config import ModelConfig
from fibcore.errors import UsageError
from fibcore.extraction.request import Request, check_models, combinations
from fibcore.keywords import UnknownOptionError
from fibcore.ops.registry import Registry

CONFIG = {"architectures": ["ToyForCausalLM"], "model_type": "toy"}


@pytest.mark.parametrize(
    ("tp", "ep", "served", "pairs"),
    [
        ((), (), ((1,), (1,)), [(1, 1)]),
        ((), (), ((8,), (8,)), [(8, 8)]),
        ((), (), ((4, 8), (1, 8)), [(4, 1), (8, 1), (8, 8)]),
        ((1, 8), (), ((1,), (1,)), [(1, 1), (8, 1)]),
        ((4, 16), (), ((8,), (8,)), [(4, 4), (16, 16)]),
        ((), (1, 2), ((8,), (8,)), [(8, 1), (8, 2)]),
        ((1, 8), (1, 8), ((1,), (1,)), [(1, 1), (1, 8), (8, 1), (8, 8)]),
    ],
)
def test_combinations(
    tp: tuple[int, ...],
    ep: tuple[int, ...],
    served: tuple[tuple[int, ...], tuple[int, ...]],
    pairs: list[tuple[int, int]],
) -> None:
    config = ModelConfig("m", None, CONFIG, "given")
    assert combinations(tp, ep, ResolvedModel("m", config, *served, None)) == pairs


def test_one_value_and_several_mean_the_same(op_plugins: Registry) -> None:
    one = Request.of(op_plugins, {"tp": 2, "op_type": "moe", "stage": "decode"})
    several = Request.of(op_plugins, {"tp": [2, 2], "op_type": ("moe",), "stage": ["decode"]})
    assert one == several
    assert (one.tp, one.op_types, one.stages) == ((2,), ("moe",), ("decode",))


def test_nothing_asked_is_everything(op_plugins: Registry) -> None:
    assert Request.of(op_plugins, {}) == Request()
    assert Request.of(op_plugins, {"tp": None, "stage": None, "op_type": ()}) == Request()
    assert Request().wants("moe")
    assert not Request(op_types=("gemm",)).wants("moe")


def test_an_unknown_op_type_names_the_nearest(op_plugins: Registry) -> None:
    with pytest.raises(UsageError) as caught:
        Request.of(op_plugins, {"op_type": "rmsnrom"})
    assert caught.value.expected is not None
    assert caught.value.expected.startswith("rmsnorm")


def test_an_option_that_no_op_type_declares_is_refused(op_plugins: Registry) -> None:
    with pytest.raises(UnknownOptionError) as caught:
        Request.of(op_plugins, {"options": {"page_sizes": 16}})
    assert caught.value.expected is not None
    assert caught.value.expected.startswith("page_size")


@pytest.mark.parametrize(
    ("names", "hf_repo_id", "config"),
    [((), None, None), (("a",), "x/y", {}), (("a", "b"), None, {}), (("a", "b"), "x/y", None)],
)
def test_configs_that_fit_no_model(names: tuple[str, ...], hf_repo_id: Any, config: Any) -> None:
    with pytest.raises(UsageError):
        check_models(names, hf_repo_id, config)


def test_a_launch_line_gives_the_sizes_itself(op_plugins: Registry) -> None:
    with pytest.raises(UsageError, match="gives the parallel sizes itself") as caught:
        Request.of(op_plugins, {"launch": "--tp 8", "tp": 4})  # type: ignore[typeddict-unknown-key]
    assert caught.value.where == "--tp, --launch"


def test_a_launch_is_a_line_words_or_a_file(op_plugins: Registry) -> None:

    def launch(given: object) -> object:
        return Request.of(op_plugins, {"launch": given}).launch  # type: ignore[typeddict-unknown-key]

    assert launch("--tp 8 --config x.yaml") == "--tp 8 --config x.yaml"
    assert launch("server.yaml") == Path("server.yaml")
    assert launch(["--tp", "8"]) == ("--tp", "8")
    assert launch(None) is None


def test_a_gpu_without_facts_names_those_with_facts(op_plugins: Registry) -> None:
    assert Request.of(op_plugins, {"gpu": "b200"}).gpu == "B200"  # type: ignore[typeddict-unknown-key]
    with pytest.raises(UsageError) as caught:
        Request.of(op_plugins, {"gpu": "A100"})  # type: ignore[typeddict-unknown-key]
    assert "H100" in str(caught.value.expected)
