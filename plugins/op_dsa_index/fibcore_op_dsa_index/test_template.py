"""Sizes, inputs and properties for the reference tests of index queries and keys.

One file for both: which a definition is of shows in its inputs. What is computed is held against
float64.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]
Device = torch.device

FP8 = torch.float8_e4m3fn
_CACHE = "k_index_cache_fp8"
_KNOWN = {
    *("k", "weight", "bias", "cos_sin_cache", "positions", "out_loc", _CACHE),
    *("q", "weights", "weight_scale"),
}


def cases(definition: Definition) -> list[Case]:
    """Few and many tokens."""
    del definition
    return [{"id": f"tokens_{n}", "tokens": n} for n in (1, 5, 67)]


def make_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Rows from small to large about means that are not zero; angles of all sizes.

    Positions and places have no order; some rows are so small that epsilon and the least scale
    matter.
    """
    if not set(definition["inputs"]) <= _KNOWN:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    tokens, rope, head = (
        case["tokens"],
        _size(definition, "rope_dim"),
        _size(definition, "head_dim"),
    )

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    angle = torch.rand(97, rope // 2, generator=generator) * 2 * math.pi
    made: Inputs = {
        "cos_sin_cache": torch.cat((angle.cos(), angle.sin()), 1),
        "positions": torch.randint(97, (tokens,), generator=generator),
    }
    size = torch.exp2(4 * torch.rand(tokens, 1, generator=generator) - 2)
    size[:1] *= 2.0**-9
    size[1:2] *= 2.0**-20
    if _stores(definition):
        page_size = _size(definition, "page_size")
        shape = [_size(definition, axis) for axis in definition["inputs"][_CACHE]["shape"][1:]]
        pages = -(-tokens // page_size) + 2
        cache = torch.randint(256, (pages, *shape), generator=generator).byte()
        made |= {
            "k": (size * (normal(tokens, head) + normal(tokens, 1))).bfloat16(),
            "weight": 1 + normal(head) / 4,
            "bias": normal(head) / 4,
            "out_loc": torch.randperm(pages * page_size, generator=generator)[:tokens],
            _CACHE: cache.view(torch.int8),
        }
    else:
        heads = _size(definition, "num_heads")
        made |= {
            "q": (size[..., None] * normal(tokens, heads, head)).bfloat16(),
            "weights": normal(tokens, heads).bfloat16(),
            "weight_scale": 0.375,
        }
    return {
        name: made[name].to(device) if isinstance(made[name], torch.Tensor) else made[name]
        for name in definition["inputs"]
    }


def _stores(definition: Definition) -> bool:
    return _CACHE in definition["inputs"]


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _outputs(run: Run, definition: Definition, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Outputs by name, of the dtypes that the definition declares; inputs stay as they are."""
    before = {n: v.clone() for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    given = run(*inputs.values())
    values = given if isinstance(given, tuple) else (given,)
    names = list(definition["outputs"])
    assert len(values) == len(names)
    for name, value in zip(names, values, strict=True):
        spec = definition["outputs"][name]
        assert value.dtype == getattr(torch, spec["dtype"]), name
        assert len(value.shape) == len(spec["shape"]), name
    for name, value in before.items():
        assert torch.equal(_bits(inputs[name]), _bits(value)), f"run changes its input {name}"
    return dict(zip(names, values, strict=True))


def _bits(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous().view(-1).view(torch.uint8)


def _close(actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol)


def _turned(rows: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    """Rows in float64, pairs of their first elements turned as complex numbers are."""
    cos, sin = inputs["cos_sin_cache"].double()[inputs["positions"]].chunk(2, -1)
    angle = torch.complex(cos.contiguous(), sin.contiguous())
    rope = 2 * angle.shape[1]
    pairs = rows[..., :rope].reshape(*rows.shape[:-1], -1, 2)
    head = torch.view_as_complex(pairs) * angle.view(len(angle), *[1] * (rows.ndim - 2), -1)
    return torch.cat((torch.view_as_real(head).flatten(-2), rows[..., rope:]), -1)


def _normalised(rows: torch.Tensor, definition: Definition) -> torch.Tensor:
    lines = dict(line.partition(" = ")[::2] for line in definition["reference"].splitlines())
    rows = rows.double()
    rows = rows - rows.mean(-1, keepdim=True)
    return rows / (rows.square().mean(-1, keepdim=True) + float(lines["EPS"])).sqrt()


def _quantised_as(found: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor) -> None:
    """Each is the nearest fp8 number times the scale: off by half a step, and a hair."""
    step = torch.maximum(expected.abs() * 2.0**-4, scale[..., None] * 2.0**-10)
    off = (found - expected).abs() - step * (1 + 1e-3)
    assert bool((off <= 0).all()), f"a number is {float(off.max()):.3g} too far from its own"


def queries_equal_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Queries are what float64 gives, rounded once; weights have the scales in them."""
    if _stores(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    outputs = _outputs(run, definition, inputs)
    expected = _turned(inputs["q"].double(), inputs)
    scale = expected.abs().amax(-1).clamp(min=1e-4) / 448
    assert outputs["q_fp8"].shape == expected.shape
    _quantised_as(outputs["q_fp8"].double() * scale[..., None], expected, scale)
    weights = inputs["weights"].double() * float(inputs["weight_scale"]) * scale
    _close(outputs["weights_out"], weights, 1e-5, 0)


def stored_keys_equal_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """What is read back of each place, and all other bytes as they were."""
    if not _stores(definition):
        return
    for bias in (1.0, 0.0):
        inputs = make_inputs(definition, case, device, generator)
        inputs["bias"] = inputs["bias"] * bias
        if not bias:
            inputs["weight"] = inputs["weight"] * 2.0**-20  # the least scale is larger than its own
        updated = _outputs(run, definition, inputs)[f"updated_{_CACHE}"]
        assert updated.shape == inputs[_CACHE].shape
        rows = _normalised(inputs["k"], definition) * inputs["weight"].double()
        rows = _turned(rows + inputs["bias"].double(), inputs)
        values, scales = _keys(updated, rows.shape[1])
        places = inputs["out_loc"]
        scale = rows.abs().amax(-1).clamp(min=1e-4) / 448
        _close(scales[places], scale, 1e-4, 0)
        _quantised_as(values[places] * scale[:, None], rows, scale)
        _nothing_else_is_new(updated, inputs[_CACHE], places)


def _keys(cache: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers [places, head_dim] of a cache and their scales, in float64."""
    end = cache.shape[1] * head_dim
    flat = cache.reshape(len(cache), -1)
    values = flat[:, :end].reshape(-1, head_dim).contiguous().view(FP8).double()
    return values, flat[:, end:].contiguous().view(torch.float32).flatten().double()


def _nothing_else_is_new(updated: torch.Tensor, before: torch.Tensor, places: torch.Tensor) -> None:
    """Bytes of places that nothing goes to."""
    assert _is_kept(updated, before, places), "something else is written"


def _is_kept(updated: torch.Tensor, before: torch.Tensor, places: torch.Tensor) -> bool:
    """Whether the bytes of places that nothing goes to are those of before."""
    page_size, data = before.shape[1], before.shape[-1] - 4
    kept = torch.ones(len(before), page_size, dtype=torch.bool, device=before.device)
    kept.view(-1)[places] = False
    one, other = (x.reshape(len(before), -1) for x in (updated, before))
    for begin, width in ((0, data), (page_size * data, 4)):
        part = slice(begin, begin + page_size * width)
        rows = [x[:, part].reshape(len(before), page_size, width) for x in (one, other)]
        if not torch.equal(rows[0][kept], rows[1][kept]):
            return False
    return True


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The last token alone gives what it gives among others; no tokens change nothing."""
    inputs = make_inputs(definition, case, device, generator)
    together = _outputs(run, definition, inputs)
    for rows in (slice(-1, None), slice(0, 0)):
        part = {
            name: value[rows]
            if (definition["inputs"][name]["shape"] or [""])[0] == "num_tokens"
            else value
            for name, value in inputs.items()
        }
        found = _outputs(run, definition, part)
        if not _stores(definition):
            for name, value in found.items():
                _close(value, together[name][rows], 2**-7, 1e-4)
            continue
        (updated,), (whole,) = found.values(), together.values()
        _nothing_else_is_new(updated, inputs[_CACHE], part["out_loc"])
        for value, other in zip(
            _keys(updated, _size(definition, "head_dim")),
            _keys(whole, _size(definition, "head_dim")),
            strict=True,
        ):
            _close(value[part["out_loc"]], other[part["out_loc"]], 2**-3, 1e-4)


PROPERTIES = [
    queries_equal_float64,
    stored_keys_equal_float64,
    tokens_do_not_mix,
]


# What rounding to bfloat16 changes a number by at most, relative to it.
HALF_PLACE = 2.0**-8


def figures(
    definition: Definition, name: str, value: torch.Tensor, inputs: Inputs
) -> torch.Tensor | None:
    """What bytes of new keys stand for, in float64, and a last 0.

    Kernels may round a key to bfloat16 before it is fp8, as SGLang's does: a number between two of
    fp8 may become either then. One that comes of the exact key but for that rounding, with a scale
    that does, counts as what was to be stored; so no mistake hides among those. None for outputs
    that are no caches of bytes. Where anything else is written, all is NaN.
    """
    if name != f"updated_{_CACHE}":
        return None
    places = inputs["out_loc"]
    values, scales = (part[places] for part in _keys(value, _size(definition, "head_dim")))
    exact = _turned(
        _normalised(inputs["k"], definition) * inputs["weight"].double() + inputs["bias"].double(),
        inputs,
    )
    scale = exact.abs().amax(-1).clamp(min=1e-4) / 448
    # Scales are float32, a place of which is far below the room.
    same_scale = (scales - scale).abs() <= HALF_PLACE * (1 + 1e-3) * scale
    ends = [
        (exact / scales[:, None] * (1 + sign * HALF_PLACE))
        .clamp(-448, 448)
        .float()
        .to(FP8)
        .double()
        for sign in (-1, 1)
    ]
    right = (values >= torch.minimum(*ends)) & (values <= torch.maximum(*ends))
    rows = torch.where(right & same_scale[:, None], exact, values * scales[:, None])
    found: torch.Tensor = torch.nn.functional.pad(rows.flatten(), (0, 1))
    if not _is_kept(value, inputs[_CACHE], places):
        found.fill_(math.nan)
    return found


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
    inputs: Inputs,
) -> None:
    """How an output is held against a ground truth's: bytes of caches by what they stand for.

    A number on the border of two fp8 numbers may be either.
    """
    del case
    if name == f"updated_{_CACHE}":
        places, head_dim = inputs["out_loc"], _size(definition, "head_dim")
        rows = []
        for cache in (actual, expected):
            values, scales = _keys(cache, head_dim)
            rows.append(values[places] * scales[places, None])
        _near(*rows)
        _nothing_else_is_new(actual, expected, places)
    elif name == "q_fp8":
        _near(actual.double(), expected.double())
    else:
        check(actual, expected)


def _near(one: torch.Tensor, other: torch.Tensor) -> None:
    """No further apart than neighbours among the fp8 numbers of a row's scale.

    Scales of a largest number that is rounded to bfloat16 differ by up to 2**-8.
    """
    largest = other.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    _close(one / largest, other / largest, 2**-3 + 2**-7, 2**-9)
