"""The references: properties, chunks, memory, checks of sizes; the test template's cases."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fibcore.plugin import Definition, Quantization
from fibcore.testing.templates import CRASHES, Template, load_run
from fibcore_op_gemm.formats import FORMATS, Format

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - torch may be missing

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
CPU = torch.device("cpu")


def failures(template: Template, source: str, made: Definition, case: Any) -> list[str]:
    """The properties that reject a reference."""
    return list(template.rejected(made, load_run(source), [case(made, 9)], crashes=CRASHES))


SHAPES = [(256, 256), (384, 640), (1, 64), (200, 72), (576, 320)]
EACH = pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)


@EACH
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_the_right_references_have_the_properties(
    definition_of: Any, template: Any, case: Any, n: int, k: int, one: Format
) -> None:
    if one.scales == "group" and k % 32:
        k += 56  # such layers have whole groups
    made = definition_of(one.name, n, k)
    assert failures(template, made.reference, made, case) == []


@EACH
@pytest.mark.parametrize("m", [1, 130, 300])
def test_chunks_leave_no_seam(
    definition_of: Any, make_inputs: Any, template: Any, case: Any, m: int, one: Format
) -> None:
    made = definition_of(one.name, 576, 320)
    # 50 to 100 rows a chunk; the block-scaled reference never takes less than a block of 128.
    small = re.sub(r"CHUNK_ELEMENTS = \d+", "CHUNK_ELEMENTS = 204800", made.reference)
    assert small != made.reference
    inputs = make_inputs(made, m)
    whole = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(load_run(small)(*inputs.values()), whole, rtol=1e-3, atol=1e-3)
    assert failures(template, small, made, case) == []


class Largest(TorchDispatchMode):
    """Notes the largest float32 tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.elements = max(self.elements, result.numel())
        return result


def in_chunks(reference: str, elements: int) -> str:
    """A reference with chunks of another size."""
    changed, count = re.subn(r"CHUNK_ELEMENTS = \d+", f"CHUNK_ELEMENTS = {elements}", reference)
    assert count == 1
    return changed


@EACH
@pytest.mark.parametrize(("m", "n", "k"), [(2500, 2500, 32), (400, 130, 4000)])
def test_memory_does_not_grow_with_m_and_n(
    definition_of: Any, make_inputs: Any, m: int, n: int, k: int, one: Format
) -> None:
    made = definition_of(one.name, n, k)
    inputs = make_inputs(made, m)
    with Largest() as largest:
        load_run(in_chunks(made.reference, 2**20))(*inputs.values())
    # A chunk of rows, or a product of two chunks; block scales are expanded to whole blocks of 128.
    bound = 2**20 + (128 * 2048 if one.scales == "block" else 0)
    assert 0 < largest.elements <= bound < max(m * n, m * k)


@EACH
def test_every_size_is_checked(definition_of: Any, make_inputs: Any, one: Format) -> None:
    made = definition_of(one.name, 256, 320)
    inputs = make_inputs(made, 3)
    run = load_run(made.reference)
    for name, right in inputs.items():
        for dim in range(right.dim()):
            if made.inputs[name].shape[dim] in ("M", "batch_size") and name == "A":
                continue  # of any size; the others are held against it
            longer = torch.cat([right.view(torch.uint8)] * 2, dim=dim).view(right.dtype)
            with pytest.raises((AssertionError, ValueError)):
                run(**{**inputs, name: longer})


def test_sizes_are_checked(definition: Any, make_inputs: Any) -> None:
    plain, fp8 = definition(200, 72), definition(200, 72, FP8_BLOCK)
    a, b = make_inputs(plain, 3).values()
    run = load_run(plain.reference)
    for wrong in ((a[:, :-1], b[:, :-1]), (a, b[:-1]), (a, b.T)):
        with pytest.raises(AssertionError):
            run(*wrong)
    a, a_scale, b, b_scale = make_inputs(fp8, 3).values()
    run = load_run(fp8.reference)
    for wrong in (
        (a, a_scale.T, b, b_scale),
        (a, a_scale, b, b_scale[:1]),
        (a, a_scale[:2], b, b_scale),
    ):
        with pytest.raises(AssertionError):
            run(*wrong)


def test_a_definition_with_other_tensors_is_skipped(definition: Any, template: Any) -> None:
    data = definition(64, 64).to_dict()
    data["inputs"]["bias"] = {"shape": ["N"], "dtype": "float16"}
    with pytest.raises(pytest.skip.Exception, match="bias"):
        template.module.make_inputs(data, {"M": 1}, CPU, torch.Generator())


def test_cases_stay_affordable(definition: Any, template: Any) -> None:
    for n, k in ((128, 64), (4096, 4096), (128256, 4096), (129280, 7168)):
        cases = template.cases(definition(n, k))
        assert {case["M"] for case in cases} >= {1}
        assert max(case["M"] for case in cases) >= 8
        assert sum(case["M"] for case in cases) * n * k < 2**35
