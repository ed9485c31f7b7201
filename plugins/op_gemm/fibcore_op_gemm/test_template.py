"""Sizes, inputs and properties for the reference tests of GEMM definitions."""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]

BLOCK = 128

# Both sides start from the same fp8 numbers and differ in nothing but the order of float32 sums and
# the rounding of C: what is usual for bfloat16 holds, and for every element.
TOLERANCES = {"bfloat16": (1e-2, 8e-3)}
MATCHED_RATIO = {"bfloat16": 1.0}


def cases(definition: Definition) -> list[Case]:
    """One row, a few, and more; fewer of them where B is so large that a run takes seconds."""
    n, k = _sizes(definition)
    many = max(8, min(300, 2**32 // (n * k)))
    rows = (1, many) if n * k > 2**28 else (1, 7, many)
    return [{"id": f"M{m}", "M": m} for m in rows]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Random matrices whose product has elements of about one, whatever K is.

    So float16 does not overflow, and an absolute tolerance means the same for every K. Returns A
    and B, for fp8 with scales that differ from block to block by up to four.
    """
    _check_layout(definition)
    m, (n, k) = case["M"], _sizes(definition)
    if not _fp8(definition):
        a = torch.randn(m, k, generator=generator)
        pool = torch.randn(_pool_size(n, k), generator=generator) / math.sqrt(k)
        return {
            "A": a.to(_dtype(definition, "A")).to(device),
            "B": _rows(pool.to(_dtype(definition, "B")), n, k, device, generator),
        }
    spread = 100.0  # of the fp8 numbers, whose largest is 448
    a = (spread * torch.randn(m, k, generator=generator)).clamp(-448, 448)
    pool = (spread * torch.randn(_pool_size(n, k), generator=generator)).clamp(-448, 448)
    k_blocks, n_blocks = -(-k // BLOCK), -(-n // BLOCK)
    a_scale = _scales(m, k_blocks, generator) / spread
    b_scale = _scales(n_blocks, k_blocks, generator) / (spread * math.sqrt(k))
    return {
        "A": a.to(_dtype(definition, "A")).to(device),
        "A_scale": a_scale.to(device),
        "B": _rows(pool.to(_dtype(definition, "B")), n, k, device, generator),
        "B_scale": b_scale.to(device),
    }


def _pool_size(n: int, k: int) -> int:
    return 4 * n + 2**14 + k


def _rows(
    pool: torch.Tensor, n: int, k: int, device: torch.device, generator: torch.Generator
) -> torch.Tensor:
    """A matrix [n, k] whose rows are different stretches of `pool`.

    As good as random for a product, and made at the speed of copying: B can have 10^9 elements.
    """
    starts = torch.randperm(pool.numel() - k, generator=generator)[:n]
    rows = _words(pool).to(device).unfold(0, k, 1)[starts.to(device)]
    return rows.contiguous().view(pool.dtype)


def _scales(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Scales between a half and two."""
    return 2.0 ** (2.0 * torch.rand(rows, columns, generator=generator) - 1.0)


def _sizes(definition: Definition) -> tuple[int, int]:
    return int(definition["axes"]["N"]["value"]), int(definition["axes"]["K"]["value"])


def _dtype(definition: Definition, name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, definition["inputs"][name]["dtype"])
    return dtype


def _fp8(definition: Definition) -> bool:
    return "A_scale" in definition["inputs"]


def _check_layout(definition: Definition) -> None:
    """Skip definitions of others whose tensors are neither of the two that are known here."""
    names = list(definition["inputs"])
    if names not in (["A", "B"], ["A", "A_scale", "B", "B_scale"]):
        import pytest

        pytest.skip(f"no inputs are made for a GEMM of {', '.join(names)}")


def _columns(inputs: Inputs, columns: torch.Tensor) -> torch.Tensor:
    """Some columns of the product, in float64."""
    a, b = inputs["A"].float().double(), _take(inputs["B"], columns).float().double()
    if "A_scale" in inputs:
        k = a.shape[1]
        block_of_k = torch.arange(k, device=a.device) // BLOCK
        a = a * inputs["A_scale"].double()[:, block_of_k]
        b = b * inputs["B_scale"].double()[columns // BLOCK][:, block_of_k]
    return torch.einsum("mk,nk->mn", a, b)


def _take(matrix: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return _words(matrix)[rows].view(matrix.dtype)


def _words(values: torch.Tensor) -> torch.Tensor:
    """The same bits as integers: indexing is not implemented for every floating-point dtype."""
    return values.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[values.element_size()])


def one_hot_rows_of_a_pick_columns_of_b(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A row of A with a single one gives a column of B: exactly, where there are no scales.

    It tells B from its transpose where N = K, and sees the first and the last element of K.
    """
    n, k = _sizes(definition)
    rows = min(case["M"], 16)
    inputs = make_inputs(definition, {"M": rows}, device, generator)
    picked = torch.randint(0, k, (rows,), generator=generator)
    picked[: min(rows, 4)] = torch.tensor([k - 1, 0, k // 2, min(BLOCK, k - 1)])[:rows]
    a = torch.zeros(rows, k)
    a[torch.arange(rows), picked] = 1.0
    inputs["A"] = a.to(_dtype(definition, "A")).to(device)
    output = run(*inputs.values())
    where = picked.to(device)
    expected = _words(inputs["B"])[:, where].view(inputs["B"].dtype).float().t()
    if "A_scale" not in inputs:
        torch.testing.assert_close(output.float(), expected, rtol=0, atol=0)
        return
    block_of_n = torch.arange(n, device=device) // BLOCK
    scale = inputs["B_scale"][block_of_n][:, where // BLOCK].t()
    own = inputs["A_scale"].gather(1, (where // BLOCK)[:, None])
    unit = torch.finfo(output.dtype).eps
    torch.testing.assert_close(output.float(), expected * scale * own, rtol=unit, atol=0)


def columns_of_the_product_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The first and last columns of C and some between, computed in float64.

    Where there are rows enough, one of A has the signs of a row of B, so that a sum has no
    cancellation and grows until small terms are lost unless it is kept in float32.
    """
    n, _ = _sizes(definition)
    inputs = make_inputs(definition, {"M": min(case["M"], 64)}, device, generator)
    columns = torch.cat(
        [
            torch.arange(min(n, 8)),
            torch.arange(max(0, n - 8), n),
            torch.randint(0, n, (48,), generator=generator),
        ]
    ).to(device)
    if inputs["A"].shape[0] > 1:
        signs = torch.sign(_take(inputs["B"], columns[-1:]).float())
        size = inputs["A"].float().abs().mean()
        first = torch.zeros_like(inputs["A"].float())
        first[0] = signs * size
        mixed = torch.where(first != 0, first, inputs["A"].float())
        inputs["A"] = mixed.to(inputs["A"].dtype)
    output = run(*inputs.values())
    assert output.shape == (inputs["A"].shape[0], n)
    assert output.dtype == getattr(torch, definition["outputs"]["C"]["dtype"])
    rtol, atol = {torch.float16: (1e-3, 1e-3), torch.bfloat16: (1e-2, 8e-3)}.get(
        output.dtype, (1e-5, 1e-5)
    )
    torch.testing.assert_close(
        output[:, columns].double(), _columns(inputs, columns), rtol=rtol, atol=atol
    )


def no_rows_give_no_rows(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A batch without tokens gives an empty C."""
    _check_layout(definition)
    inputs = {}
    for name, spec in definition["inputs"].items():
        shape = [definition["axes"][axis].get("value", 0) for axis in spec["shape"]]
        # What B holds does not matter; one element stands for all.
        inputs[name] = torch.zeros(1, device=device).to(_dtype(definition, name)).expand(shape)
    assert run(*inputs.values()).shape == (0, _sizes(definition)[0])


def settings_of_torch_stay(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """How other products are rounded is as it was before, whatever it was."""
    inputs = make_inputs(definition, {"M": 1}, device, generator)
    flags = torch.backends.cuda.matmul
    names = (
        "allow_bf16_reduced_precision_reduction",
        "allow_fp16_reduced_precision_reduction",
        "allow_tf32",
    )
    before = {name: getattr(flags, name) for name in names}
    try:
        for values in ((True, False, False), (False, True, False)):
            for name, value in zip(names, values, strict=True):
                setattr(flags, name, value)
            run(*inputs.values())
            assert tuple(getattr(flags, name) for name in names) == values
    finally:
        for name, value in before.items():
            setattr(flags, name, value)


PROPERTIES = [
    one_hot_rows_of_a_pick_columns_of_b,
    columns_of_the_product_agree_with_float64,
    no_rows_give_no_rows,
    settings_of_torch_stay,
]
