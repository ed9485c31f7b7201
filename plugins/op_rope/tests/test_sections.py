"""Embeddings of several positions a token (MRoPE), from the layer to what they are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Definition, ModuleNode, Serving, Unknown
from fibcore.testing.harness import harness
from fibcore.testing.templates import CRASHES, Template, load_run
from fibcore.testing.trees import tree
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

Layer = Callable[..., ModuleNode]
SHAPES = [
    # Qwen2-VL, Qwen3-VL, Qwen3.5, pairs side by side.
    ("neox", 128, 128, (16, 24, 24), False),
    ("neox", 128, 128, (24, 20, 20), True),
    ("neox", 256, 64, (11, 11, 10), True),
    ("gptj", 24, 16, (4, 2, 2), False),
]
EACH = pytest.mark.parametrize("shape", SHAPES)


def extracted(layer: Layer, *, cls: str = "mrope.MRotaryEmbedding", **changed: Any) -> Any:
    return plugin.fibcore_extract(tree(layer(cls=cls, **changed)), Serving(tp=2))


@pytest.fixture
def made(layer: Layer) -> Callable[[Any], Definition]:
    """Makes the definition of a shape."""

    def define(shape: Any) -> Definition:
        style, head_size, rotary_dim, sections, interleaved = shape
        found = extracted(
            layer,
            head_size=head_size,
            rotary_dim=rotary_dim,
            is_neox_style=style == "neox",
            mrope_section=list(sections),
            mrope_interleaved=interleaved,
        )
        (kernel,) = found.kernels
        definition = plugin.fibcore_reference(kernel)
        assert definition.const_axes.keys() | {"is_neox_style"} == kernel.facts.keys()
        return definition

    return define


def test_names_and_tensors(made: Any) -> None:
    data = made(SHAPES[1]).to_dict()
    assert data["name"] == "mrope_with_cos_sin_cache_neox_style_d128_rd128_s24_20_20_interleaved"
    assert data["inputs"]["positions"]["shape"] == ["num_axes", "num_tokens"]
    assert data["axes"]["num_axes"]["value"] == 3
    assert data["tags"] == []
    assert "24 and 20 and 20 pairs" in data["description"]
    assert made(SHAPES[0]).name == "mrope_with_cos_sin_cache_neox_style_d128_rd128_s16_24_24"


def test_a_layer_without_sections_turns_by_one_position(layer: Layer) -> None:
    (kernel,) = extracted(layer, mrope_section=None).kernels
    assert kernel.name == "rope_with_cos_sin_cache_neox_style_d128_rd128"


def test_scalings_are_in_the_table(layer: Layer) -> None:
    cls = "mrope.YaRNScalingMRotaryEmbedding"
    (kernel,) = extracted(layer, cls=cls, mrope_section=[16, 24, 24]).kernels
    assert kernel.notes == ("scaling of its table: YaRN",)


@pytest.mark.parametrize("section", [Unknown("it is read"), [16, 24], [16, 24, 25], [64], "16"])
def test_sections_that_are_none_are_a_problem(layer: Layer, section: Any) -> None:
    found = extracted(layer, mrope_section=section)
    assert not found.kernels
    (problem,) = found.problems
    assert "mrope_section" in problem.reason


def test_turns_of_glm_are_named(layer: Layer) -> None:
    found = extracted(layer, mrope_section=[16, 24, 24], mrope_interleaved_glm=True)
    assert not found.kernels
    assert "GLM" in found.not_covered[0].reason


def test_sections_make_variants(made: Any) -> None:
    variants = {plugin.fibcore_identify(made(shape)).variant for shape in SHAPES}
    assert variants == {
        "neox 16 24 24",
        "neox 24 20 20 interleaved",
        "neox 11 11 10 interleaved",
        "gptj 4 2 2",
    }
    for shape in SHAPES:
        assert not plugin.fibcore_identify(made(shape)).contradictions


@EACH
def test_the_right_references_have_the_properties(
    made: Any, template: Template, shape: Any
) -> None:
    assert_accepted(template, made(shape))


@EACH
def test_wrong_implementations_are_rejected(made: Any, template: Template, shape: Any) -> None:
    found = plugin.fibcore_implementations(made(shape))
    names = {one.name for one in found}
    assert "rows and columns change places" in names
    assert ("sections one after the other" in names) == shape[-1]
    assert_wrong_ones_rejected(template, made(shape), found)


MISTAKES = {
    "split": [
        Mistake.of("an end too early", "right=True", "right=False"),
        Mistake.of("ends are no sums", "ends.cumsum(0)", "ends.sort().values"),
        Mistake.of("sines by the first", "axis.repeat(2)", "torch.cat((axis, axis * 0))"),
    ],
    "interleaved": [
        Mistake.of("no end", "torch.where(pairs < 3 * ends[pairs % 3], pairs % 3, 0)", "pairs % 3"),
        Mistake.of("an end of pairs", "3 * ends[pairs % 3]", "ends[pairs % 3]"),
        Mistake.of("each twice", "pairs % 3, 0)", "pairs // 2 % 3, 0)"),
    ],
}


@pytest.mark.parametrize(("kind", "mistake"), parameters(MISTAKES))
def test_wrong_references_are_rejected(
    made: Any, template: Template, kind: str, mistake: Mistake
) -> None:
    shape = SHAPES[0 if kind == "split" else 1]
    assert_rejected(template, made(shape), mistake, crashes=CRASHES)


@EACH
def test_agrees_with_sglang_and_torch(made: Any, template: Template, shape: Any) -> None:
    definition = made(shape)
    data, generator = definition.to_dict(), torch.Generator().manual_seed(3)
    inputs = template.module.make_inputs(
        data, template.module.cases(data)[2], torch.device("cpu"), generator
    )
    outputs = load_run(definition.reference)(**inputs)
    package, reason = harness().find_sglang(None)
    for one in plugin.fibcore_ground_truths(definition):
        if one.kind == "sglang" and package is None:
            continue
        loader = (harness().SGLangSource(package),) if one.kind == "sglang" else ()
        namespace: dict[str, Any] = {"__name__": "ground_truth"}
        exec(one.source, namespace)  # noqa: S102 - the ground truth is what is tested
        expected = namespace[one.entry](*loader, **inputs)
        for out, right in zip(outputs, expected, strict=True):
            torch.testing.assert_close(out.float(), right.float(), rtol=1e-2, atol=8e-3)
    if package is None:
        pytest.skip(reason)


def test_workloads_have_images_whose_positions_differ(made: Any) -> None:
    definition = made(SHAPES[1])
    cases = {c.axes["num_tokens"]: c.tensors() for c in plugin.fibcore_workloads(definition, {}, 0)}
    for tokens, tensors in cases.items():
        positions = tensors["positions"]
        assert positions.shape == (3, tokens)
        assert positions.min() >= 0
        assert positions.max() < 32768
        same = bool((positions == positions[0]).all())
        assert same == (tokens <= 256)


def test_cost_of_a_token_is_one_row_of_the_table(made: Any) -> None:
    definition = made(SHAPES[0])
    axes = {"num_tokens": 2, "num_qo_heads": 4, "num_kv_heads": 1, "max_seq_len": 100}
    found = plugin.fibcore_cost(definition, axes, {"positions": [1, 2, 1, 2, 5, 6]})
    assert found is not None
    # q and k of 2 x 5 x 128 in two bytes, positions of eight, two rows of 128 in four.
    assert found.bytes_read == 2 * 5 * 128 * 2 + 6 * 8 + 2 * 128 * 4
    assert found.flops == 3 * 2 * 5 * 128
