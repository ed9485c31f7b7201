"""Products with integers that a checkpoint has packed: formats, references, ground truths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gemm as plugin
from fibcore.plugin import Cost, Definition, Quantization, Serving
from fibcore.testing.harness import harness
from fibcore.testing.sglang_modules import linear
from fibcore.testing.templates import CRASHES, Template, load_run
from fibcore.testing.trees import tree
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_gemm.formats import named, of_definition, of_quantization
from fibcore_op_gemm.workloads import TARGET_STD

torch = pytest.importorskip("torch")

NAMES = (
    "gemm_w4a16_awq_g64",
    "gemm_w4a16_awq_channel",
    "gemm_w4a16_gptq_g64",
    "gemm_w4a16_gptq_channel",
    "gemm_w4a16_gptq_g64_act_order",
    "gemm_w4a16_gptq_g64_zeros_act_order",
    "gemm_w8a16_gptq_g32",
    "gemm_w4a16_pack_quantized_g32",
    "gemm_w4a16_pack_quantized_g64_zeros",
    "gemm_w8a16_pack_quantized_channel",
    "gemm_w8a16_pack_quantized_g64_zeros_act_order",
)
EACH = pytest.mark.parametrize("name", NAMES)
Made = Callable[..., Definition]


def int4(method: str, **more: Any) -> Quantization:
    given = {"group_size": 128, "packing": method, **more}
    scheme = "group" if given["group_size"] else "channel"
    return Quantization(method, given.pop("dtype", "int4"), scheme, **given)


# -- what layers are -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantization", "kind"),
    [
        (int4("awq", zero_points=True), "w4a16_awq_g128"),
        (int4("awq", zero_points=True, group_size=None), "w4a16_awq_channel"),
        (int4("gptq"), "w4a16_gptq_g128"),
        (int4("gptq", act_order=True), "w4a16_gptq_g128_act_order"),
        (int4("gptq", zero_points=True, group_size=32), "w4a16_gptq_g32_zeros"),
        (int4("gptq", dtype="int8"), "w8a16_gptq_g128"),
        (int4("auto-round", packing="gptq"), "w4a16_gptq_g128"),
        (int4("pack_quantized"), "w4a16_pack_quantized_g128"),
        (int4("pack_quantized", dtype="int8", group_size=None), "w8a16_pack_quantized_channel"),
        (int4("pack_quantized", zero_points=True), "w4a16_pack_quantized_g128_zeros"),
    ],
)
def test_formats_of_layers(quantization: Quantization, kind: str) -> None:
    node = linear("up", "ColumnParallelLinear", 4096, 11008, quantization=quantization)
    found = plugin.fibcore_extract(tree(node), Serving())
    (kernel,) = found.kernels
    assert not found.not_covered
    assert kernel.name == f"gemm_{kind}_n_11008_k_4096"
    assert kernel.tags == (f"quantization:{quantization.weight_dtype}",)
    assert plugin.fibcore_reference(kernel).const_axes.keys() == kernel.facts.keys()


@pytest.mark.parametrize(
    "quantization",
    [
        int4("gptq_v2", zero_points=True),  # whose zero points are others
        int4("gptq", dtype="int3"),
        int4("awq", dtype="int8", zero_points=True),
        int4("awq"),  # no kernel goes without zero points
        int4("gptq", packing=""),
        int4("pack_quantized", activation="dynamic"),
    ],
)
def test_other_packings_are_named(quantization: Quantization) -> None:
    node = linear("up", "ColumnParallelLinear", 4096, 11008, quantization=quantization)
    found = plugin.fibcore_extract(tree(node), Serving())
    assert not found.kernels
    assert len(found.not_covered) == 1


@pytest.mark.parametrize(
    ("name", "n", "k", "why"),
    [
        ("gemm_w4a16_gptq_g128", 64, 192, "K is 192, no multiple of the 128"),
        ("gemm_w4a16_gptq_channel", 64, 196, "K is 196, no multiple of the 8 integers"),
        ("gemm_w8a16_gptq_channel", 64, 196, ""),
        ("gemm_w4a16_gptq_g64", 60, 192, ""),
        ("gemm_w4a16_gptq_g64_zeros", 60, 192, "N is 60, no multiple of the 8 integers"),
        ("gemm_w4a16_awq_g64", 60, 192, "N is 60, no multiple of the 8 integers"),
        ("gemm_w4a16_awq_channel", 64, 196, ""),
    ],
)
def test_sizes_that_cannot_be_packed_are_a_problem(name: str, n: int, k: int, why: str) -> None:
    one = named(name)
    assert one.misfit(n, k).startswith(why)
    assert bool(one.misfit(n, k)) == bool(why)


def test_a_layer_of_such_a_size_is_a_problem() -> None:
    node = linear("up", "ColumnParallelLinear", 192, 64, quantization=int4("gptq"))
    found = plugin.fibcore_extract(tree(node), Serving())
    assert not found.kernels
    assert "no multiple of the 128" in found.problems[0].reason


# -- definitions ---------------------------------------------------------------------------------


@EACH
def test_names_and_tensors_tell_the_format(definition_of: Made, name: str) -> None:
    made = definition_of(name, 96, 256)
    assert named(name).name == name
    found = of_definition(made)
    assert found is not None
    assert found.name == name
    assert not plugin.fibcore_identify(made).contradictions


def test_tensors_of_awq(definition_of: Made) -> None:
    data = definition_of("gemm_w4a16_awq_g128", 11008, 4096).to_dict()
    assert {name: (s["shape"], s["dtype"]) for name, s in data["inputs"].items()} == {
        "A": (["M", "K"], "bfloat16"),
        "B": (["K", "n_bytes"], "int8"),
        "B_scale": (["num_k_blocks", "N"], "bfloat16"),
        "B_zeros": (["num_k_blocks", "n_bytes"], "int8"),
    }
    assert data["axes"]["n_bytes"]["value"] == 5504
    assert data["axes"]["num_k_blocks"]["value"] == 32
    assert "AWQ" in data["description"]
    assert "0, 2, 4, 6, 1, 3, 5, 7" in data["inputs"]["B"]["description"]


def test_tensors_of_others(definition_of: Made) -> None:
    gptq = definition_of("gemm_w4a16_gptq_g128_act_order", 96, 256)
    assert gptq.inputs["B"].shape == ("k_words", "n_word_bytes")
    assert gptq.const_axes["k_words"] == 32
    assert gptq.const_axes["n_word_bytes"] == 384
    assert (gptq.inputs["g_idx"].shape, gptq.inputs["g_idx"].dtype) == (("K",), "int32")
    packed = definition_of("gemm_w8a16_pack_quantized_g128_zeros", 96, 256)
    assert packed.inputs["B"].shape == ("N", "k_bytes")
    assert packed.const_axes["k_bytes"] == 256
    assert packed.const_axes["n_words"] == 24
    assert packed.const_axes["num_k_block_bytes"] == 8
    assert packed.inputs["B_zeros"].shape == ("n_words", "num_k_block_bytes")


def test_a_contradiction_of_sizes_is_said(definition_of: Made) -> None:
    made = definition_of("gemm_w4a16_awq_g64", 96, 256)
    axes = {**made.axes, "N": attrs.evolve(made.axes["N"], value=88)}
    wrong = attrs.evolve(made, axes=axes)
    assert of_definition(wrong) is None or plugin.fibcore_identify(wrong).contradictions


def test_costs(definition_of: Made) -> None:
    # A 3 x 256 of two bytes, B of half a byte, 4 x 96 scales of two and zero points of a half.
    made = definition_of("gemm_w4a16_awq_g64", 96, 256)
    read = 3 * 256 * 2 + 256 * 48 + 4 * 96 * 2 + 4 * 48
    found = plugin.fibcore_cost(made, {"M": 3}, {})
    assert found == Cost(2 * 3 * 96 * 256, "bfloat16", read, 3 * 96 * 2)


# -- references and ground truths ----------------------------------------------------------------


@EACH
@pytest.mark.parametrize(("n", "k"), [(96, 256), (8, 64), (200, 320)])
def test_the_right_references_have_the_properties(
    definition_of: Made, template: Template, name: str, n: int, k: int
) -> None:
    assert_accepted(template, definition_of(name, n, k))


@EACH
def test_chunks_leave_no_seam(definition_of: Made, make_inputs: Any, name: str) -> None:
    made = definition_of(name, 200, 320)
    small = re.sub(r"CHUNK_ELEMENTS = \d+", f"CHUNK_ELEMENTS = {24 * 4096}", made.reference)
    assert small != made.reference
    inputs = make_inputs(made, 60)
    whole = load_run(made.reference)(**inputs)
    torch.testing.assert_close(load_run(small)(**inputs), whole, rtol=1e-2, atol=1e-3)


@EACH
def test_every_size_is_checked(definition_of: Made, make_inputs: Any, name: str) -> None:
    made = definition_of(name, 96, 256)
    inputs, run = make_inputs(made, 3), load_run(made.reference)
    for wrong, right in inputs.items():
        for dim in range(right.dim()):
            if (wrong, dim) == ("A", 0):
                continue
            with pytest.raises(AssertionError):
                run(**{**inputs, wrong: torch.cat([right, right], dim=dim)})


@EACH
def test_agrees_with_torch_and_sglang(definition_of: Made, make_inputs: Any, name: str) -> None:
    made = definition_of(name, 2056, 320)  # more than the rows that are taken at once
    inputs = make_inputs(made, 7)
    actual = load_run(made.reference)(**inputs).double()
    package, reason = harness().find_sglang(None)
    kinds = set()
    for each in plugin.fibcore_ground_truths(made):
        namespace: dict[str, Any] = {"__name__": "ground_truth"}
        exec(each.source, namespace)  # noqa: S102 - the ground truth is what is tested
        if each.kind == "sglang" and package is None:
            continue
        loader = (harness().SGLangSource(package),) if each.kind == "sglang" else ()
        expected = namespace[each.entry](*loader, **inputs)
        torch.testing.assert_close(actual, expected.double(), rtol=1e-2, atol=8e-3)
        kinds.add((each.kind, expected.dtype))
    assert ("torch", torch.float64) in kinds
    if package is None:
        pytest.skip(reason)
    assert ("sglang", torch.float32) in kinds


@EACH
def test_a_gpu_multiplies_as_float32_does(
    definition_of: Made, make_inputs: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def product(a: Any, b: Any, *, out_dtype: Any) -> Any:
        assert (a.dtype, b.dtype, out_dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
        return a.to(out_dtype) @ b.to(out_dtype)

    made = definition_of(name, 96, 256)
    inputs = make_inputs(made, 9)
    product.__doc__ = "out_dtype"
    monkeypatch.setattr(torch, "mm", product)
    unrounded = made.reference.replace(
        "dtype=torch.bfloat16, device", "dtype=torch.float32, device"
    )
    expected = load_run(unrounded)(**inputs)
    on_gpu = unrounded.replace("a.is_cuda", "True")
    without = on_gpu.replace("(b - high)", "(high - high)")
    assert without != on_gpu
    whole, cut = (
        float((load_run(source)(**inputs) - expected).abs().max()) for source in (on_gpu, without)
    )
    assert whole < 2**-18 < 2**-11 < cut


BY_FORMAT = {
    "gemm_w4a16_awq_g64": [
        Mistake.of("another place", "(0, 4, 1, 5, 2, 6, 3, 7)", "(0, 4, 1, 5, 2, 6, 7, 3)"),
        Mistake.of("halves", "(values & 15, values >> 4)", "(values >> 4, values & 15)"),
        Mistake.of("no zero points", "q - zero[:, None]", "q - 8"),
        Mistake.of(
            "zero points are not scaled",
            *("(q - zero[:, None]) * scale[:, None]", "q * scale[:, None] - zero[:, None]"),
        ),
    ],
    "gemm_w4a16_gptq_g64_zeros_act_order": [
        Mistake.of("one too small", "[groups] + 1", "[groups]"),
        Mistake.of("order of K", "g_idx.to(torch.int64)", "torch.arange(K) // (K // NUM_K_BLOCKS)"),
        Mistake.of("words along N", "words.transpose(1, 2).reshape", "words.reshape"),
    ],
    "gemm_w4a16_gptq_g64": [
        Mistake.of("no middle", "q -= MIDDLE", "q -= 0"),
        Mistake.of("middle of signed numbers", "q -= MIDDLE", "q = torch.where(q > 7, q - 16, q)"),
        Mistake.of("groups dealt out", "// (K // NUM_K_BLOCKS)", "% NUM_K_BLOCKS"),
    ],
    "gemm_w8a16_pack_quantized_g64_zeros_act_order": [
        Mistake.of("signed bytes", "x.view(torch.uint8)", "x"),
        Mistake.of("zero points along K", "words.transpose(1, 2).reshape", "words.reshape"),
        Mistake.of("one too large", "zero.to(torch.float32)", "(zero.to(torch.float32) + 1)"),
    ],
}


@pytest.mark.parametrize(("name", "mistake"), parameters(BY_FORMAT))
def test_wrong_references_are_rejected(
    definition_of: Made, template: Template, name: str, mistake: Mistake
) -> None:
    made = definition_of(name, 384, 384)
    cases = [{"id": "M9", "M": 9}]
    assert_rejected(template, made, mistake, cases=cases, crashes=CRASHES)


@EACH
def test_wrong_implementations_are_rejected(
    definition_of: Made, template: Template, name: str
) -> None:
    made = definition_of(name, 384, 384)
    found = plugin.fibcore_implementations(made)
    assert_wrong_ones_rejected(template, made, found)
    assert {one.name for one in found if one.right} == {
        "two parts of K, rounded before they are added",
        "weights rounded to bfloat16",
    }


# -- workloads -----------------------------------------------------------------------------------


@EACH
def test_workloads_keep_products_of_what_is_drawn_in_range(definition_of: Made, name: str) -> None:
    made = definition_of(name, 256, 640)
    case = next(c for c in plugin.fibcore_workloads(made, {}, 0) if c.axes["M"] == 64)
    generator, given = torch.Generator().manual_seed(0), case.tensors()
    inputs = {}
    for tensor, spec in made.inputs.items():
        shape = [{**made.const_axes, **case.axes}[axis] for axis in spec.shape or ()]
        if tensor in given:
            assert list(given[tensor].shape) == shape
            inputs[tensor] = torch.from_numpy(given[tensor]).to(getattr(torch, spec.dtype))
        elif spec.dtype == "int8":
            inputs[tensor] = torch.randint(-128, 128, shape, generator=generator).to(torch.int8)
        else:
            inputs[tensor] = torch.randn(shape, generator=generator).to(torch.bfloat16)
    c = load_run(made.reference)(**inputs)
    assert 0.7 * TARGET_STD < float(c.float().std()) < 1.6 * TARGET_STD


def test_groups_of_workloads_are_whole_and_in_no_order(definition_of: Made) -> None:
    made = definition_of("gemm_w4a16_gptq_g64_act_order", 64, 256)
    first, *others = plugin.fibcore_workloads(made, {}, 0)
    groups = torch.from_numpy(first.tensors()["g_idx"])
    assert groups.dtype == torch.int32
    assert torch.bincount(groups.long()).tolist() == [64] * 4
    assert groups.diff().lt(0).any()
    assert all((case.tensors()["g_idx"] == first.tensors()["g_idx"]).all() for case in others[:2])


@pytest.mark.parametrize("name", ["gemm_w4a16_awq_g64", "gemm_w4a16_pack_quantized_g32"])
def test_a_layer_quantised_like_this_is_found_by_its_kernel(definition_of: Made, name: str) -> None:
    made = of_definition(definition_of(name, 96, 256))
    packing = name.split("_g")[0].removeprefix("gemm_w4a16_")
    size = int(name.rpartition("_g")[2])
    given = int4(packing, group_size=size, zero_points=packing == "awq")
    assert of_quantization(given) == made
