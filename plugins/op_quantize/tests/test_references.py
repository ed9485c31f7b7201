"""References: properties, chunks, checks of sizes, and values by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_quantize.kinds import KINDS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("kind", KINDS)
def test_references_have_the_properties(definition: Make, template: Template, kind: str) -> None:
    for k in (256, 1536):
        made = definition(kind, k)
        assert_accepted(template, made, cases=template.cases(made)[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template, kind: str) -> None:
    made = definition(kind, 256)
    small = with_constants(made, CHUNK_ELEMENTS=256 * 3)
    inputs = template.inputs(made, {"M": 8})
    whole = load_run(made.reference)(*inputs.values())
    parts = load_run(small.reference)(*inputs.values())
    if isinstance(whole, torch.Tensor):
        whole, parts = (whole,), (parts,)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_checked(definition: Make, kind: str) -> None:
    run = load_run(definition(kind, 256).reference)
    scale = [torch.ones(1)] * bool(KINDS[kind].given)
    with pytest.raises(AssertionError):
        run(torch.zeros(2, 512, dtype=torch.bfloat16), *scale)
    if scale:
        with pytest.raises(AssertionError):
            run(torch.zeros(2, 256, dtype=torch.bfloat16), torch.ones(2))


def test_scales_by_hand(definition: Make) -> None:
    x = torch.zeros(2, 256, dtype=torch.bfloat16)
    x[0, :3] = torch.tensor([1.0, -3.5, 0.125])
    expected = {
        # 3.5 / 448 = 2^-7; a group of zeros has 1e-10 / 448
        "per_token_group_quant_fp8_g128": [[2.0**-7, 1e-10 / 448], [1e-10 / 448] * 2],
        "per_token_quant_fp8": [2.0**-7, 0.0],
        "per_tensor_quant_fp8": [2.0**-7],
        "per_token_quant_int8": [3.5 / 127, 1e-10 / 127],
    }
    for kind, scales in expected.items():
        quantized, found = load_run(definition(kind, 256).reference)(x)
        torch.testing.assert_close(found, torch.tensor(scales))
        if kind != "per_token_quant_int8":
            assert quantized[0, :3].float().tolist() == [128.0, -448.0, 16.0]
    # 3.6 / 448 lies between 2^-7 and 2^-6
    x[0, 1] = -3.6
    (_, scales) = load_run(definition("per_token_group_quant_fp8_ue8m0_g128", 256).reference)(x)
    assert scales[0, 0] == 2.0**-6
    (_, scales) = load_run(definition("mxfp8_quantize", 256).reference)(x)
    assert scales.tolist() == [[121, *[0] * 7], [0] * 8]


def test_two_numbers_of_four_bits_are_in_a_byte(definition: Make) -> None:
    x = torch.zeros(1, 16, dtype=torch.bfloat16)
    x[0, :6] = torch.tensor([6.0, -0.5, 1.5, 4.0, -3.0, 2.0])
    quantized, scales = load_run(definition("nvfp4_quantize", 16).reference)(x, torch.ones(1))
    assert scales.float().tolist() == [[1.0]]
    found = [f"{byte:02x}" for byte in quantized.view(torch.uint8)[0].tolist()]
    assert found == ["97", "63", "4d", "00", "00", "00", "00", "00"]
