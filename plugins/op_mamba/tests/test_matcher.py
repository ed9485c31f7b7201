"""Which kernels a mixer runs, and what is said of those that run none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_mamba as plugin
from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore.testing.trees import module, tree

Mixer = Callable[..., ModuleNode]


def extract(*mixers: ModuleNode, serving: Serving | None = None, **more: Any) -> Extraction:
    made = attrs.evolve(tree(*mixers), **more)
    return plugin.fibcore_extract(made, serving or Serving(tp=8))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def test_a_mixer_runs_one_kernel_for_each_form(mixer: Mixer) -> None:
    found = extract(mixer("a"), mixer("b"))
    assert names(found) == [
        "mamba_ssu_decode_h64_d64_s128_ng8",
        "mamba_ssd_prefill_h64_d64_s128_ng8",
    ]
    assert all([use.path for use in kernel.uses] == ["a", "b"] for kernel in found.kernels)
    assert found.claimed == {"a", "b"}
    assert not found.problems
    assert not found.not_covered


def test_tags_and_stages(mixer: Mixer) -> None:
    decode, prefill = extract(mixer()).kernels
    assert decode.tags == (
        "stage:decode",
        "tp:8",
        "fi_api:flashinfer.mamba.selective_state_update",
    )
    assert prefill.tags == ("stage:prefill", "tp:8")
    assert names(extract(mixer(), serving=Serving(stages=("prefill",)))) == [prefill.name]


def test_groups_are_those_of_a_rank(mixer: Mixer) -> None:
    # One group on four ranks: the mixer has made four of it.
    groups = with_origins(4, frozenset({"config:mamba_n_groups"}))
    ranks = with_origins(4, frozenset({"serving:tp"}))
    found = extract(mixer(nheads=12, n_groups=groups, tp_size=ranks))
    assert names(found)[0] == "mamba_ssu_decode_h12_d64_s128_ng1"
    fact = found.kernels[0].facts["ngroups"]
    assert (fact.value, fact.origins) == (1, ("config:mamba_n_groups", "serving:tp"))


@pytest.mark.parametrize("name", ["head_dim", "ssm_state_size", "n_groups", "tp_size", "A"])
@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives((4, 8)), "four", None])
def test_what_is_not_known_is_a_problem(mixer: Mixer, name: str, value: Any) -> None:
    found = extract(mixer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [use.path for use in problem.uses] == ["mixer"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nheads": 60}, "do not fit"),
        ({"tp_size": 3}, "do not fit"),
        ({"nheads": Unknown("?")}, "number of heads"),
        ({"A": ParameterRef("A", None, None)}, "a number for each head"),
        ({"A": ParameterRef("A", (4, 16), None)}, "a number for each head"),
    ],
)
def test_sizes_that_do_not_fit_are_problems(
    mixer: Mixer, changed: dict[str, Any], reason: str
) -> None:
    found = extract(mixer(**changed))
    assert not found.kernels
    assert reason in found.problems[0].reason


def test_a_mixer_of_mamba_1_is_named() -> None:
    found = extract(module("x", "sglang.srt.layers.attention.mamba.mamba1.MambaMixer1"))
    assert [one.what for one in found.not_covered] == ["state space of MambaMixer1"]


def test_a_state_of_another_dtype_is_a_note(mixer: Mixer) -> None:
    for config, dtype in (
        ({}, "float32"),
        ({"mamba_ssm_dtype": "float16"}, "float16"),
        ({"text_config": {"mamba_ssm_dtype": "float16"}}, "float16"),
    ):
        assert f"states in {dtype}" in extract(mixer(), config=config).kernels[0].notes[0]
    assert extract(mixer(), config={"mamba_ssm_dtype": "bfloat16"}).kernels[0].notes == ()


def test_other_classes_are_left_alone() -> None:
    assert extract(module("x", "sglang.srt.layers.radix_attention.RadixAttention")) == Extraction()


@pytest.mark.parametrize("version", VERSIONS)
def test_nemotron_h(version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not there")
    serving = Serving(tp=8)
    made = real_tree(package, version, "nemotron-h-56b-base-8k", serving)
    found = plugin.fibcore_extract(made, serving)
    assert names(found) == [
        "mamba_ssu_decode_h32_d64_s256_ng1",
        "mamba_ssd_prefill_h32_d64_s256_ng1",
    ]
    assert not found.problems
    assert len(found.kernels[0].uses) == 54
    origins = found.kernels[0].facts["nheads"].origins
    assert {"config:mamba_num_heads", "serving:tp"} <= set(origins)
    # The file says n_groups, and the class's name for it is another.
    groups = found.kernels[0].facts["ngroups"].origins
    assert any("n_groups" in origin for origin in groups)
    assert "serving:tp" in groups
