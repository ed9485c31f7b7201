"""Sizes, inputs and properties for the reference tests of writes to paged caches.

One file for caches of keys and values and for latent ones: which a definition is of shows in its
inputs. Lengths of a case are tokens; page tables are made from them.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]

_TABLE = ("batch_indices", "positions")
_PAGES = ("kv_indices", "kv_indptr", "kv_last_page_len")
_KINDS: dict[str, tuple[str, ...]] = {
    "kv": ("append_key", "append_value", *_TABLE, "k_cache", "v_cache", *_PAGES),
    "mla": ("append_ckv", "append_kpe", *_TABLE, "ckv_cache", "kpe_cache", *_PAGES),
}
# What fp8 caches of keys and values have besides; no powers of two, which would show less.
_SCALES = {"k_scale": 0.37, "v_scale": 1.9}
_KINDS["scaled"] = (*_KINDS["kv"], *_SCALES)
# One cache of bytes: numbers of fp8, scales of so many of them, and bfloat16 numbers.
_KINDS["packed"] = ("append_ckv", "append_kpe", *_TABLE, "kv_cache", *_PAGES)
BLOCK = 128
# What rounding to bfloat16 changes a number by at most, relative to it.
_HALF_PLACE = 2.0**-8
# Tokens in a page where the definition leaves that open.
PAGE_SIZE = 8


def cases(definition: Definition) -> list[Case]:
    """Batches as (new tokens, tokens with them) of each sequence."""
    page = _page_size(definition)
    some = max(page, 5)
    batches = {
        "one_token": [(1, 1)],
        "decoding": [(1, 1), (1, some), (1, some + 1), (1, 3 * some - 1)],
        "prompts": [(some + 2, some + 2), (1, 1), (2 * some, 2 * some)],
        "chunks_after_others": [(3, some + 1), (2 * some + 1, 4 * some), (1, 2)],
        "sequences_without_new_tokens": [(0, 4), (2, some + 1), (0, 0), (0, 2 * some)],
        "nothing_new": [(0, 3), (0, 1)],
    }
    return [
        {"id": name, "lengths": [list(pair) for pair in batch]} for name, batch in batches.items()
    ]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Normal rows; pages in random places, and new tokens of all sequences in random order."""
    names = tuple(definition["inputs"])
    if names not in _KINDS.values():
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(names)}")
    page, lengths = _page_size(definition), case["lengths"]
    pages = [-(-keys // page) for _, keys in lengths]
    count = sum(pages) + 3
    tokens = [
        (sequence, position)
        for sequence, (new, keys) in enumerate(lengths)
        for position in range(keys - new, keys)
    ]
    order = torch.randperm(len(tokens), generator=generator).tolist()
    sequences, positions = (
        torch.tensor([tokens[i][part] for i in order], dtype=torch.int32) for part in range(2)
    )
    values: list[torch.Tensor] = [
        *(_normal(generator, len(tokens), *_row(definition, name)) for name in names[:2]),
        *(sequences, positions),
        *(_cache(definition, name, (count, page), generator) for name in _caches(definition)),
        # Page 0 stays unused: what goes to the wrong page is seen.
        torch.randperm(count - 1, generator=generator)[: sum(pages)].int() + 1,
        torch.tensor([0, *itertools.accumulate(pages)], dtype=torch.int32),
        torch.tensor([(n - 1) % page + 1 if n else 0 for _, n in lengths], dtype=torch.int32),
    ]
    given = {name: value.to(device) for name, value in zip(names, values, strict=False)}
    return {**given, **{name: _SCALES[name] for name in names if name in _SCALES}}


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator).to(torch.bfloat16)


def _caches(definition: Definition) -> list[str]:
    """The inputs that are appended to."""
    return [name for name in definition["inputs"] if name.endswith("cache")]


def _cache(
    definition: Definition, name: str, pages: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Pages of normal numbers, or of any bytes."""
    shape = (*pages, *_row(definition, name, 2))
    dtype = definition["inputs"][name]["dtype"]
    if dtype == "int8":
        return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
    return _normal(generator, *shape).to(getattr(torch, dtype))


def _page_size(definition: Definition) -> int:
    return int(definition["axes"].get("page_size", {}).get("value", PAGE_SIZE))


def _row(definition: Definition, name: str, first: int = 1) -> list[int]:
    """Sizes of what a token has of an input: heads and elements, or elements."""
    axes = definition["inputs"][name]["shape"][first:]
    return [int(definition["axes"][axis]["value"]) for axis in axes]


def _bits(x: torch.Tensor) -> torch.Tensor:
    """The bits of floating-point numbers: zeros have signs, and NaN is equal to itself."""
    return x.contiguous().view(torch.uint8)


def _rows(inputs: Inputs) -> list[torch.Tensor]:
    """What each cache holds of the new tokens."""
    first, second = list(inputs.values())[:2]
    if "kv_cache" in inputs:
        return [_packed(first, second)]
    if "k_scale" in inputs:
        first, second = first.float() / inputs["k_scale"], second.float() / inputs["v_scale"]
    caches = [value for name, value in inputs.items() if name.endswith("cache")]
    return [row.to(cache.dtype) for row, cache in zip((first, second), caches, strict=True)]


def _packed(latent: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """Bytes of each token [n, kv_dim]: numbers of fp8, a float32 scale for a block, bfloat16."""
    numbers, scales = [], []
    for block in torch.split(latent.float(), BLOCK, 1):
        scale = block.abs().amax(1, keepdim=True) / 448
        scales.append(scale)
        numbers.append(torch.where(scale > 0, block / scale, 0.0).to(torch.float8_e4m3fn))
    parts = (torch.cat(numbers, 1), torch.cat(scales, 1), rope)
    return torch.cat([part.contiguous().view(torch.int8) for part in parts], 1)


def _places(inputs: Inputs) -> list[tuple[int, int]]:
    """Page and place of each new token, token by token."""
    caches = [value for name, value in inputs.items() if name.endswith("cache")]
    page_size, numbers, begins = caches[0].shape[1], inputs["kv_indices"], inputs["kv_indptr"]
    sequences, positions = (inputs[name].tolist() for name in _TABLE)
    return [
        (int(numbers[int(begins[sequence]) + position // page_size]), position % page_size)
        for sequence, position in zip(sequences, positions, strict=True)
    ]


def _expected(inputs: Inputs) -> list[torch.Tensor]:
    """The caches with the new tokens."""
    caches = [value.clone() for name, value in inputs.items() if name.endswith("cache")]
    for cache, rows in zip(caches, _rows(inputs), strict=True):
        for row, (page, place) in zip(rows, _places(inputs), strict=True):
            cache[page, place] = row
    return caches


def _all(outputs: Any) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def new_tokens_have_their_places_and_all_else_stays(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The same bits as were given, also of what is no number; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    first, second = list(inputs.values())[:2]
    caches = [inputs[name] for name in _caches(definition)]
    numbers = [second] if "kv_cache" in inputs else [first, second, *caches]
    odd = torch.tensor((-0.0, math.nan, math.inf, 1e30)[: first.shape[-1]], device=device)
    for rows in numbers:
        if rows.shape[0]:
            rows[0].view(-1)[: len(odd)] = odd.to(rows.dtype)
    if "kv_cache" in inputs and first.shape[0]:
        # Of one block all numbers are 0, of another nearly all; the largest is a negative one.
        first[0, :BLOCK] = 0.0
        first[-1, -BLOCK:] = torch.linspace(-1e-20, 0.0, BLOCK).to(first)
        first[-1, -1] = -3e20
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    before = {name: value.clone() for name, value in tensors.items()}
    expected = _expected(inputs)
    found = _all(run(*inputs.values()))
    assert len(found) == len(expected)
    for one, right in zip(found, expected, strict=True):
        assert one.shape == right.shape, f"it has shape {tuple(one.shape)}"
        assert one.dtype == right.dtype, f"it is {one.dtype}"
        assert torch.equal(_bits(one), _bits(right))
    for one in found:
        one.fill_(1)  # a cache that was given would show now
    for name, value in tensors.items():
        assert torch.equal(_bits(value), _bits(before[name])), f"run changes its input {name}"


def tokens_go_one_by_one_as_well(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Appending tokens one after the other gives what appending all of them gives."""
    inputs = make_inputs(definition, case, device, generator)
    names, caches = list(inputs), _caches(definition)
    together = _all(run(*inputs.values()))
    step = dict(inputs)
    for token in range(min(4, inputs["positions"].shape[0])):
        step.update({name: inputs[name][token : token + 1] for name in names[:4]})
        step.update(zip(caches, _all(run(*step.values())), strict=True))
    rest = {name: inputs[name][4:] for name in names[:4]}
    apart = _all(run(*{**step, **rest}.values()))
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(_bits(one), _bits(other))


def figures(
    definition: Definition, name: str, value: torch.Tensor, inputs: Inputs
) -> torch.Tensor | None:
    """What the bytes of new tokens stand for, and a last 0.

    In caches of fp8 those are numbers times their scale, or what was to be stored where a number is
    that but for rounding; in one with scales among them each block is over its largest input. None
    for other caches, which are compared as they are. Where any
    other place changed, or a rope part that is not rounded is no copy, all is NaN.
    """
    if definition["outputs"][name]["dtype"] == "float8_e4m3fn":
        return _figures_of_numbers(name, value, inputs)
    return _figures_of_blocks(value, inputs) if name == "updated_kv_cache" else None


def _figures_of_numbers(name: str, value: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    """New numbers of a cache of fp8, times what they were divided by.

    Kernels divide in bfloat16, as SGLang does, or multiply with the inverse: a quotient between two
    numbers of fp8 may become either. Such a number counts as the input itself, so that no mistake
    hides among what a few per cent of right numbers are off.
    """
    first = name in ("updated_k_cache", "updated_ckv_cache")
    appended = list(inputs.values())[0 if first else 1].double()
    scale, room = 1.0, 0.0
    if "k_scale" in inputs:
        scale, room = float(inputs["k_scale" if first else "v_scale"]), _HALF_PLACE
    rows, others_stay = _new_rows(value, inputs[name.removeprefix("updated_")], inputs)
    numbers = rows.contiguous().view(value.dtype).double()
    ends = [(appended / scale * (1 + s * room)).float().to(value.dtype).double() for s in (-1, 1)]
    right = (numbers >= torch.minimum(*ends)) & (numbers <= torch.maximum(*ends))
    figured = torch.where(right, appended, numbers * scale)
    found: torch.Tensor = torch.nn.functional.pad(figured.flatten(), (0, 1))
    return found if others_stay else found.fill_(math.nan)


def _new_rows(
    value: torch.Tensor, before: torch.Tensor, inputs: Inputs
) -> tuple[torch.Tensor, bool]:
    """The bytes of new tokens, [n, ...], and whether those of all other places are as before."""
    pages, places = (
        torch.tensor(part, dtype=torch.long, device=value.device)
        for part in (list(zip(*_places(inputs), strict=True)) or [(), ()])
    )
    # As bytes, which every device can index.
    after, then = value.view(torch.uint8), before.view(torch.uint8)
    others = after.clone()
    others[pages, places] = then[pages, places]
    return after[pages, places], torch.equal(others, then)


def _figures_of_blocks(value: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    """New numbers of a cache with scales among them, over the largest input of their block."""
    latent, rope = inputs["append_ckv"], inputs["append_kpe"]
    rows, others_stay = _new_rows(value, inputs["kv_cache"], inputs)
    width = latent.shape[1]
    end = width + width // BLOCK * 4
    numbers = rows[:, :width].contiguous().view(torch.float8_e4m3fn).double()
    scales = rows[:, width:end].contiguous().view(torch.float32).double()
    shape = (len(rows), width // BLOCK, BLOCK)
    largest = latent.double().view(shape).abs().amax(-1, keepdim=True).clamp(min=1e-30)
    exact: torch.Tensor = numbers.view(shape) * scales[..., None] / largest
    found: torch.Tensor = torch.nn.functional.pad(exact.flatten(), (0, 1))
    if not (others_stay and _same(rows[:, end:], rope)):
        found.fill_(math.nan)
    return found


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(_bits(one), _bits(other))


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
    inputs: Inputs,
) -> None:
    """Hold bytes with scales against what they stand for: a number between two may be either.

    Kernels may round a scale to bfloat16, or multiply with its inverse. Neighbours among numbers
    of fp8 are up to 1/8 of the larger apart, or, near 0, 2**-9 of the scale: 2**-17 of the largest.
    """
    del definition, case
    if name != "updated_kv_cache":
        check(actual, expected)
        return
    one, other = (_figures_of_blocks(value, inputs) for value in (actual, expected))
    assert bool(one.isfinite().all()), "a rope part is no copy, or another place changed"
    torch.testing.assert_close(one.cpu(), other.cpu(), rtol=2**-3, atol=2**-16)


PROPERTIES = [
    new_tokens_have_their_places_and_all_else_stays,
    tokens_go_one_by_one_as_well,
]
