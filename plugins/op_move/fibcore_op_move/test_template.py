"""Sizes, inputs and properties for the reference tests of writes to paged caches.

One file for caches of keys and values and for latent ones: which a definition is of shows in its
inputs. Lengths of a case are tokens; page tables are made from them.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., tuple[torch.Tensor, torch.Tensor]]
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
    rows = [_row(definition, name) for name in names[:2]]
    values: list[torch.Tensor] = [
        *(_normal(generator, len(tokens), *row) for row in rows),
        *(sequences, positions),
        *(_normal(generator, count, page, *row).to(_dtype(definition)) for row in rows),
        # Page 0 stays unused: what goes to the wrong page is seen.
        torch.randperm(count - 1, generator=generator)[: sum(pages)].int() + 1,
        torch.tensor([0, *itertools.accumulate(pages)], dtype=torch.int32),
        torch.tensor([(n - 1) % page + 1 if n else 0 for _, n in lengths], dtype=torch.int32),
    ]
    given = {name: value.to(device) for name, value in zip(names, values, strict=False)}
    return {**given, **{name: _SCALES[name] for name in names if name in _SCALES}}


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator).to(torch.bfloat16)


def _dtype(definition: Definition) -> torch.dtype:
    """Of the caches."""
    name = list(definition["inputs"])[4]
    word = definition["inputs"][name]["dtype"]
    return torch.float8_e4m3fn if word == "float8_e4m3fn" else torch.bfloat16


def _page_size(definition: Definition) -> int:
    return int(definition["axes"].get("page_size", {}).get("value", PAGE_SIZE))


def _row(definition: Definition, name: str) -> list[int]:
    """Sizes of what a token has of an input: heads and elements, or elements."""
    axes = definition["inputs"][name]["shape"][1:]
    return [int(definition["axes"][axis]["value"]) for axis in axes]


def _bits(x: torch.Tensor) -> torch.Tensor:
    """The bits of floating-point numbers: zeros have signs, and NaN is equal to itself."""
    return x.contiguous().view(torch.uint8)


def _expected(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Token by token: its page, its place there."""
    first, second, sequences, positions, *caches, numbers, begins, _ = list(inputs.values())[:9]
    keys, values = (cache.clone() for cache in caches)
    if "k_scale" in inputs:
        first, second = first.float() / inputs["k_scale"], second.float() / inputs["v_scale"]
    first, second = first.to(keys.dtype), second.to(keys.dtype)
    page_size = keys.shape[1]
    for token, (sequence, position) in enumerate(
        zip(sequences.tolist(), positions.tolist(), strict=True)
    ):
        page = int(numbers[int(begins[sequence]) + position // page_size])
        keys[page, position % page_size] = first[token]
        values[page, position % page_size] = second[token]
    return keys, values


def new_tokens_have_their_places_and_all_else_stays(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The same bits as were given, also of what is no number; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    first, second, _, _, *caches = list(inputs.values())[:6]
    odd = torch.tensor((-0.0, math.nan, math.inf, 1e30)[: first.shape[-1]], device=device)
    for rows in (first, second, *caches):
        if rows.shape[0]:
            rows[0].view(-1)[: len(odd)] = odd.to(rows.dtype)
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    before = {name: value.clone() for name, value in tensors.items()}
    expected = _expected(inputs)
    found = run(*inputs.values())
    assert len(found) == 2
    for one, right in zip(found, expected, strict=True):
        assert one.shape == right.shape, f"it has shape {tuple(one.shape)}"
        assert one.dtype == right.dtype, f"it is {one.dtype}"
        assert torch.equal(_bits(one), _bits(right))
    for one in found:
        one.fill_(1.0)  # a cache that was given would show now
    for name, value in tensors.items():
        assert torch.equal(_bits(value), _bits(before[name])), f"run changes its input {name}"


def tokens_go_one_by_one_as_well(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Appending tokens one after the other gives what appending all of them gives."""
    inputs = make_inputs(definition, case, device, generator)
    names = list(inputs)
    together = run(*inputs.values())
    step = dict(inputs)
    for token in range(min(4, inputs["positions"].shape[0])):
        step.update({name: inputs[name][token : token + 1] for name in names[:4]})
        step[names[4]], step[names[5]] = run(*step.values())
    rest = {name: inputs[name][4:] for name in names[:4]}
    apart = run(*{**step, **rest}.values())
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(_bits(one), _bits(other))


PROPERTIES = [
    new_tokens_have_their_places_and_all_else_stays,
    tokens_go_one_by_one_as_well,
]
