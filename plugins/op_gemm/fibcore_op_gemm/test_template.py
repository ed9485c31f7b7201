"""Sizes, inputs and properties for the reference tests of GEMM definitions.

What matrices hold follows from the definition itself: a matrix with an axis `packed_k` has two e2m1
numbers a byte, and a scale covers what its axes say. Scales in int8 are the bits of an exponent.
Axes of B in bytes or words are those of integers that a checkpoint has packed (`INTEGERS`).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]

# Elements along K that a scale of that dtype covers, where it covers some of them.
BLOCKS = {"float32": 128, "float8_e4m3fn": 16, "int8": 32}
# Axes of scales that are known here.
SCALES = (
    ["scalar"],
    ["M"],
    ["N"],
    ["M", "num_k_blocks"],
    ["N", "num_k_blocks"],
    ["num_n_blocks", "num_k_blocks"],
)
# Who packed integers, by the axes of B.
INTEGERS = {
    ("K", "n_bytes"): "awq",
    ("k_words", "n_word_bytes"): "gptq",
    ("N", "k_bytes"): "pack_quantized",
}
# Numbers e2m1 by their bits.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)

# Both sides start from the same numbers and differ in nothing but the order of float32 sums and the
# rounding of C: what is usual for bfloat16 holds, and for every element.
TOLERANCES = {"bfloat16": (1e-2, 8e-3)}
MATCHED_RATIO = {"bfloat16": 1.0}


def cases(definition: Definition) -> list[Case]:
    """One row, a few, and more; fewer of them where B is so large that a run takes seconds."""
    n, k = _sizes(definition)
    many = max(8, min(300, 2**32 // (n * k)))
    rows = (1, many) if n * k > 2**28 else (1, 7, many)
    if "batch_size" not in definition["axes"]:
        return [{"id": f"M{m}", "M": m} for m in rows]
    return [
        {"id": f"B{b}-M{m}", "M": m, "batch_size": b}
        for m, b in zip(rows, (16, 3, 8), strict=False)
    ]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Random matrices whose product has elements of about one, whatever K is.

    So float16 does not overflow, and an absolute tolerance means the same for every K. Returns the
    inputs in order; scales differ by up to four.
    """
    _check_layout(definition)
    inputs: Inputs = {}
    for name, spec in definition["inputs"].items():
        if name in ("A", "B"):
            inputs[name] = _matrix(definition, name, case, device, generator)
        elif name == "alpha":  # scales of few bits are about one
            size = _target(definition, "B") / (_spread(definition, "A") * _spread(definition, "B"))
            inputs[name] = torch.full((1,), size, dtype=torch.float32, device=device)
        elif name == "B_zeros":
            shape = _shape(definition, name, case)
            bits = torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
            inputs[name] = bits.to(device)
        elif name == "g_idx":
            k, groups = _sizes(definition)[1], definition["axes"]["num_k_blocks"]["value"]
            order = torch.randperm(k, generator=generator) // (k // groups)
            inputs[name] = order.to(torch.int32).to(device)
        else:
            of = name.removesuffix("_scale")
            middle = _target(definition, of) / _spread(definition, of)
            middle = 1.0 if "alpha" in definition["inputs"] else middle
            shape = _shape(definition, name, case)
            inputs[name] = _scales(shape, spec["dtype"], middle, generator).to(device)
    return inputs


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
) -> None:
    """Compare products; those of a whole row of fp8 numbers with what tensor cores add up.

    A Hopper GPU multiplies 32 columns of fp8 at a time and cuts what it has summed so far to 14
    bits (DeepSeek-V3 Technical Report, section 3.3.2). With blocks of scales, kernels move sums to
    float32 every 128 columns; with one scale nothing does, and elements of size 1 are off by up to
    2^-13 for each step.
    """
    inputs = definition["inputs"]
    whole = inputs.get("A_scale", {}).get("shape") == ["scalar"]
    if inputs["A"]["dtype"] == "float8_e4m3fn" and whole and actual.is_cuda:
        steps = _sizes(definition)[1] / 32
        size = expected.double().square().mean(dim=-1, keepdim=True).sqrt()
        off = actual.double() - expected.double()
        off = off.sign() * (off.abs() - 2.0**-13 * steps * size).clamp(min=0.0)
        actual = (expected.double() + off).to(actual.dtype)
    check(actual, expected)


def _target(definition: Definition, name: str) -> float:
    """The standard deviation of what the elements of a matrix stand for."""
    return 1.0 if name == "A" else 1.0 / math.sqrt(_sizes(definition)[1])


def _spread(definition: Definition, name: str) -> float:
    """The standard deviation of the elements themselves."""
    if f"{name}_scale" not in definition["inputs"]:
        return _target(definition, name)
    if _packed(definition, name):
        return math.sqrt(sum(x * x for x in E2M1) / len(E2M1))
    if name == "B" and _packer(definition):  # evenly drawn, less half their number or another one
        return 2.0 ** _bits(definition) / math.sqrt(6 if "B_zeros" in definition["inputs"] else 12)
    return {"int8": 40.0}.get(definition["inputs"][name]["dtype"], 100.0)  # fp8 ends at 448


def _matrix(
    definition: Definition,
    name: str,
    case: Case,
    device: torch.device,
    generator: torch.Generator,
) -> torch.Tensor:
    """A or B, with rows along K that are different stretches of one pool.

    As good as random for a product, and made at the speed of copying: B can have 10^9 elements.
    """
    *batch, rows, columns = _shape(definition, name, case)
    turned = definition["inputs"][name]["shape"][-1] == "N"
    if turned:
        rows, columns = columns, rows
    count = rows * math.prod(batch)
    pool = _pool(definition, name, 4 * count + 2**14 + columns, generator)
    starts = torch.randperm(pool.numel() - columns, generator=generator)[:count]
    matrix = _words(pool).to(device).unfold(0, columns, 1)[starts.to(device)]
    matrix = matrix.view(*batch, rows, columns)
    return (matrix.mT if turned else matrix).contiguous().view(pool.dtype)


def _pool(
    definition: Definition, name: str, elements: int, generator: torch.Generator
) -> torch.Tensor:
    if _packed(definition, name) or (name == "B" and _packer(definition)):
        return torch.randint(-128, 128, (elements,), generator=generator, dtype=torch.int8)
    values = _spread(definition, name) * torch.randn(elements, generator=generator)
    dtype = _dtype(definition, name)
    if dtype.itemsize == 1:
        largest = 127.0 if dtype == torch.int8 else 448.0
        values = values.clamp(-largest, largest)
    return (values.round() if dtype == torch.int8 else values).to(dtype)


def _scales(
    shape: list[int], dtype: str, middle: float, generator: torch.Generator
) -> torch.Tensor:
    """Scales between a half and two times `middle`."""
    if dtype == "int8":
        steps = torch.randint(-1, 2, shape, generator=generator)
        bits = steps + (127 + round(math.log2(middle)))
        return bits.to(torch.uint8).view(torch.int8)
    values = middle * 2.0 ** (2.0 * torch.rand(shape, generator=generator) - 1.0)
    return values.to(getattr(torch, dtype))


def _sizes(definition: Definition) -> tuple[int, int]:
    return int(definition["axes"]["N"]["value"]), int(definition["axes"]["K"]["value"])


def _shape(definition: Definition, name: str, case: Case) -> list[int]:
    axes = definition["axes"]
    sizes = [axes[a].get("value", case.get(a)) for a in definition["inputs"][name]["shape"]]
    return [int(size) for size in sizes]


def _dtype(definition: Definition, name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, definition["inputs"][name]["dtype"])
    return dtype


def _packed(definition: Definition, name: str) -> bool:
    return "packed_k" in definition["inputs"][name]["shape"]


def _packer(definition: Definition) -> str:
    """Who packed the integers of B; empty where it holds none."""
    return INTEGERS.get(tuple(definition["inputs"]["B"]["shape"]), "")


def _bits(definition: Definition) -> int:
    """The bits of such an integer."""
    sizes = [definition["axes"][axis]["value"] for axis in definition["inputs"]["B"]["shape"]]
    return int(8 * math.prod(sizes) // math.prod(_sizes(definition)))


def _check_layout(definition: Definition) -> None:
    """Skip definitions of others whose tensors are none of those that are known here."""
    inputs = definition["inputs"]
    names = sorted(name for name in inputs if name != "alpha")
    known = names in (["A", "B"], ["A", "A_scale", "B", "B_scale"])
    known = known or (names == ["A", "B", "B_scale"] and _packed(definition, "B"))
    if _packer(definition):
        return
    for name in names if known else ():
        if not name.endswith("_scale"):
            continue
        axes = [axis for axis in inputs[name]["shape"] or [] if axis != "batch_size"]
        known = known and axes in SCALES and inputs[name]["dtype"] in BLOCKS
    if not known:
        import pytest

        pytest.skip(f"no inputs are made for a GEMM of {', '.join(inputs)}")


def _values(
    definition: Definition,
    inputs: Inputs,
    name: str,
    rows: torch.Tensor | None = None,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """What elements of A or B stand for, in float64: of some rows, at some columns of K."""
    if name == "B" and _packer(definition):
        return _integers(definition, inputs, rows, columns)
    raw, scale = _words(inputs[name]), inputs.get(f"{name}_scale")
    raw = raw.mT if definition["inputs"][name]["shape"][-1] == "N" else raw
    k = _sizes(definition)[1]
    rows = torch.arange(raw.shape[-2], device=raw.device) if rows is None else rows
    columns = torch.arange(k, device=raw.device) if columns is None else columns
    raw = raw[..., rows, :]
    if _packed(definition, name):
        bits = raw[..., columns // 2].view(torch.uint8) >> (4 * (columns % 2)).to(torch.uint8)
        values = torch.tensor(E2M1, dtype=torch.float64, device=raw.device)[(bits & 15).long()]
    else:
        values = raw[..., columns].contiguous().view(inputs[name].dtype).float().double()
    if scale is None:
        return values
    axes = definition["inputs"][f"{name}_scale"]["shape"]
    factors = _exponents(scale) if scale.dtype == torch.int8 else scale.float().double()
    if axes[-1] == "scalar":
        return values * factors
    block = BLOCKS[definition["inputs"][f"{name}_scale"]["dtype"]]
    if axes[-1] == "num_k_blocks":
        of_rows = rows // block if axes[-2] == "num_n_blocks" else rows
        return values * factors[..., of_rows, :][..., columns // block]
    return values * factors[..., rows, None]


def _integers(
    definition: Definition,
    inputs: Inputs,
    rows: torch.Tensor | None,
    columns: torch.Tensor | None,
) -> torch.Tensor:
    """What packed integers stand for, found one by one by the bytes that they are in."""
    (size_n, size_k), device = _sizes(definition), inputs["B"].device
    n = torch.arange(size_n, device=device) if rows is None else rows
    k = torch.arange(size_k, device=device) if columns is None else columns
    packer, bits = _packer(definition), _bits(definition)
    per, along_n = 32 // bits, n[:, None]
    if packer == "awq":
        at = _in_word(along_n, per, bits, awq=True)
        q = _bits_at(inputs["B"], k[None, :], *at, bits)
    elif packer == "gptq":
        byte, shift = _in_word(k[None, :] % per, per, bits)
        q = _bits_at(inputs["B"], k[None, :] // per, 4 * along_n + byte, shift, bits)
    else:
        q = _bits_at(inputs["B"], along_n, *_in_word(k[None, :], per, bits), bits)
    size = size_k // definition["axes"]["num_k_blocks"]["value"]
    g = (inputs["g_idx"].long()[k] if "g_idx" in inputs else k // size)[None, :]
    zero: torch.Tensor | int = 2 ** (bits - 1)
    if "B_zeros" in inputs:
        byte, shift = _in_word(along_n, per, bits, awq=packer == "awq")
        if packer == "pack_quantized":
            byte, shift = _in_word(along_n % per, per, bits)
            zero = _bits_at(inputs["B_zeros"], along_n // per, 4 * g + byte, shift, bits)
        else:
            zero = _bits_at(inputs["B_zeros"], g, byte, shift, bits)
        zero = zero + 1 if packer == "gptq" else zero  # of which it stores one less
    scale = inputs["B_scale"].double()
    scale = scale[along_n, g] if packer == "pack_quantized" else scale[g, along_n]
    return (q - zero).double() * scale


def _in_word(
    index: torch.Tensor, per: int, bits: int, *, awq: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """In which byte of a row of words an integer is, and how many bits up."""
    place = index % per
    if awq:
        place = torch.tensor((0, 4, 1, 5, 2, 6, 3, 7), device=index.device)[place]
    in_byte = 8 // bits
    return index // per * 4 + place // in_byte, place % in_byte * bits


def _bits_at(
    x: torch.Tensor, row: torch.Tensor, column: torch.Tensor, shift: torch.Tensor, bits: int
) -> torch.Tensor:
    found: torch.Tensor = (x.view(torch.uint8)[row, column].long() >> shift) & (2**bits - 1)
    return found


def _exponents(bits: torch.Tensor) -> torch.Tensor:
    """Powers of two by the bits of their exponents, in float64."""
    return torch.exp2(bits.view(torch.uint8).double() - 127.0)


def _stored(definition: Definition, values: torch.Tensor) -> torch.Tensor:
    """A matrix A that holds these numbers, rounded to those that there are."""
    if not _packed(definition, "A"):
        dtype = _dtype(definition, "A")
        return (values.round() if dtype == torch.int8 else values).to(dtype)
    table = torch.tensor(E2M1, device=values.device)
    bits = (values[..., None] - table).abs().argmin(dim=-1).to(torch.uint8)
    return (bits[..., ::2] | (bits[..., 1::2] << 4)).view(torch.int8)


def _alpha(inputs: Inputs) -> torch.Tensor | float:
    return inputs["alpha"].double() if "alpha" in inputs else 1.0


def _take(matrix: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Some columns of a matrix."""
    return _words(matrix)[..., columns].view(matrix.dtype)


def _words(values: torch.Tensor) -> torch.Tensor:
    """The same bits as integers: indexing is not implemented for every floating-point dtype."""
    return values.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[values.element_size()])


def one_hot_rows_of_a_pick_columns_of_b(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A row of A with a single one gives a column of B: exactly, where there are no scales.

    It tells B from its transpose where N = K, and sees the first and the last element of K.
    """
    _, k = _sizes(definition)
    rows = min(case["M"], 16)
    inputs = make_inputs(definition, {**case, "M": rows}, device, generator)
    picked = torch.randint(0, k, (rows,), generator=generator)
    picked[: min(rows, 4)] = torch.tensor([k - 1, 0, k // 2, min(128, k - 1)])[:rows]
    where, all_rows = picked.to(device), torch.arange(rows, device=device)
    a = torch.zeros(*inputs["A"].shape[:-1], k, device=device)
    a[..., all_rows, where] = 1.0
    inputs["A"] = _stored(definition, a)
    output = run(*inputs.values())
    own = _values(definition, inputs, "A", None, where).diagonal(dim1=-2, dim2=-1)
    columns = _values(definition, inputs, "B", None, where).mT
    expected = columns * own[..., None] * _alpha(inputs)
    unit = torch.finfo(output.dtype).eps if "B_scale" in inputs else 0
    torch.testing.assert_close(output.double(), expected, rtol=unit, atol=0)


def columns_of_the_product_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The first and last columns of C and some between, computed in float64.

    Where there are rows enough, one of A has the signs of a row of B, so that a sum has no
    cancellation and grows until small terms are lost unless it is kept in float32.
    """
    n, _ = _sizes(definition)
    inputs = make_inputs(definition, {**case, "M": min(case["M"], 64)}, device, generator)
    columns = torch.cat(
        [
            torch.arange(min(n, 8)),
            torch.arange(max(0, n - 8), n),
            torch.randint(0, n, (48,), generator=generator),
        ]
    ).to(device)
    rows = inputs["A"].shape[-2]
    if rows > 1:
        signs = torch.sign(_values(definition, inputs, "B", columns[-1:]))
        first = signs * _spread(definition, "A")
        first = torch.where(first == 0, _spread(definition, "A"), first)
        inputs["A"] = inputs["A"].clone()
        _words(inputs["A"])[..., :1, :] = _words(_stored(definition, first.float()))
    output = run(*inputs.values())
    assert output.shape == (*inputs["A"].shape[:-1], n)
    assert output.dtype == getattr(torch, definition["outputs"]["C"]["dtype"])
    rtol, atol = {torch.float16: (1e-3, 1e-3), torch.bfloat16: (1e-2, 8e-3)}.get(
        output.dtype, (1e-5, 1e-5)
    )
    a, b = _values(definition, inputs, "A"), _values(definition, inputs, "B", columns)
    expected = torch.matmul(a, b.mT) * _alpha(inputs)
    torch.testing.assert_close(_take(output, columns).double(), expected, rtol=rtol, atol=atol)


def exponents_may_be_as_large_as_there_are(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Scales of A that are powers of two up to 2^100, or 2^-127; those of B take them back. NaN.

    Where A has no scales, its elements have such factors, and scales of B are 2^-127.
    """
    if definition["inputs"].get("B_scale", {}).get("dtype") != "int8":
        return
    inputs = make_inputs(definition, {**case, "M": min(case["M"], 8)}, device, generator)
    rows, (n, blocks) = inputs["A"].shape[0], inputs["B_scale"].shape
    own = inputs["A"]
    steps = torch.randint(-100, 101, (blocks,), generator=generator).to(device)
    size = 127 + round(math.log2(_target(definition, "B"))) - 12
    columns = torch.arange(min(n, 64), device=device)
    lowest = -127 if "A_scale" in inputs else size
    for of_a in (steps, torch.full_like(steps, lowest)):
        if "A_scale" in inputs:
            inputs["A_scale"] = (127 + of_a).to(torch.uint8).view(torch.int8).repeat(rows, 1)
        else:
            inputs["A"] = _shifted(own, of_a)
        inputs["B_scale"] = (size - of_a).to(torch.uint8).view(torch.int8).repeat(n, 1)
        a, b = _values(definition, inputs, "A"), _values(definition, inputs, "B", columns)
        expected = torch.matmul(a, b.mT)
        output = run(*inputs.values())[:, columns].double()
        atol = 8e-3 * float(expected.std())
        torch.testing.assert_close(output, expected, rtol=1e-2, atol=atol)
    # Without signs and zeros, so that an infinity would give no NaN.
    inputs["A"] = own
    for name in ("A", "B"):
        kept, set_bits = (0x77, 0x11) if _packed(definition, name) else (0x7F, 0)
        if inputs[name].dtype == torch.bfloat16:
            inputs[name] = inputs[name].abs() + 1
            continue
        inputs[name] = ((_words(inputs[name]) & kept) | set_bits).view(inputs[name].dtype)
    of = "A" if "A_scale" in inputs else "B"
    inputs[f"{of}_scale"][0, -1] = -1  # the byte 255
    output = run(*inputs.values())
    output = output if of == "A" else output.T
    assert output[0].isnan().all()
    assert not output[1:].isnan().any()


def _shifted(a: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """A with a power of two for each group along K, as far as bfloat16 has such numbers."""
    powers = steps.double().repeat_interleave(a.shape[1] // len(steps))
    return (a.double() * torch.exp2(powers)).to(a.dtype)


def no_rows_give_no_rows(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A batch without tokens gives an empty C."""
    _check_layout(definition)
    inputs = {}
    for name in definition["inputs"]:
        shape = _shape(definition, name, {**case, "M": 0})
        # What B holds does not matter; one element stands for all.
        inputs[name] = torch.zeros(1, device=device).to(_dtype(definition, name)).expand(shape)
    output = run(*inputs.values())
    assert output.shape == (*inputs["A"].shape[:-2], 0, _sizes(definition)[0])


def settings_of_torch_stay(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """How other products are rounded is as it was before, whatever it was."""
    inputs = make_inputs(definition, {**case, "M": 1}, device, generator)
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
    exponents_may_be_as_large_as_there_are,
    no_rows_give_no_rows,
    settings_of_torch_stay,
]
