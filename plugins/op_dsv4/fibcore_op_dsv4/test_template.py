"""Sizes, inputs and properties for the reference tests of DeepSeek-V4's attention.

One file for attention, its compressor, its stores and its queries: which a definition is of shows
in its inputs. What is computed is held against float64.
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

TILE = 64
FP8 = torch.float8_e4m3fn
_CACHES = ("kv_cache", "k_index_cache_fp8")
_KNOWN = {
    *("query", "swa_kv_cache", "compressed_kv_cache", "sparse_indices", "swa_topk_lens"),
    *("extra_sparse_indices", "extra_sparse_topk_lens", "sinks", "bmm1_scale"),
    *("kv_score_input", "kv_score_buffer", "ape", "window_indices", "write_indices"),
    *("kv", "weight", "cos_sin_cache", "positions", "out_loc", *_CACHES),
    *("q", "x", "weights", "weight_scale"),
}


def cases(definition: Definition) -> list[Case]:
    """Few and many tokens; of attention, how many keys each query sees of both kinds."""
    if _attends(definition):
        topk = _size(definition, "sparse_topk")
        return [
            {"id": "one_query", "window": [1], "extra": [1]},
            {"id": "whole_windows", "window": [topk, topk], "extra": [9, 70]},
            {
                "id": "all_lengths",
                "window": [0, 1, topk, max(1, topk // 2), 0, topk],
                "extra": [0, 0, 3, 66, 17, 40],
            },
            {"id": "many_queries", "window": [topk] * 40, "extra": [21] * 40},
        ]
    return [{"id": f"tokens_{n}", "tokens": n} for n in (1, 5, 67)]


def make_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Numbers of several sizes; in places that are not used, what is no number."""
    if not set(definition["inputs"]) <= _KNOWN:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    if _attends(definition):
        made = _attention_inputs(definition, case, generator)
    elif "kv_score_input" in definition["inputs"]:
        made = _compress_inputs(definition, case, generator)
    else:
        made = _row_inputs(definition, case, generator)
    return {
        name: made[name].to(device) if isinstance(made[name], torch.Tensor) else made[name]
        for name in definition["inputs"]
    }


def _attends(definition: Definition) -> bool:
    return "sparse_indices" in definition["inputs"]


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


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


# --- caches of latent vectors ---------------------------------------------------------------------


def _cache(
    generator: torch.Generator, pages: int, page_size: int, size: int, head_dim: int
) -> torch.Tensor:
    """Bytes of latent vectors: of a page all vectors, then all their scales.

    Scales are powers of two from 1/8 to 1; the last byte of a vector's scales is no scale.
    """
    rope = size - 8 - head_dim
    plain = head_dim - rope
    values = (_normal(generator, pages, page_size, plain) * 2).to(FP8).view(torch.uint8)
    turned = _normal(generator, pages, page_size, rope).bfloat16().view(torch.uint8)
    exponents = torch.randint(124, 128, (pages, page_size, 8), generator=generator).byte()
    exponents[..., plain // TILE :] = 0xFF
    parts = (torch.cat((values, turned), -1).flatten(1), exponents.flatten(1))
    return torch.cat(parts, 1).view(torch.int8).view(pages, page_size, 1, size)


def _latents(cache: torch.Tensor, head_dim: int) -> torch.Tensor:
    """All latent vectors of a cache [pages * page_size, head_dim] in float64."""
    pages, page_size, _, size = cache.shape
    flat, width = cache.view(torch.uint8).reshape(pages, -1), size - 8
    data = flat[:, : page_size * width].reshape(-1, width).contiguous()
    exponents = flat[:, page_size * width :].reshape(-1, 8).double()
    end = 2 * head_dim - width
    plain = data[:, :end].contiguous().view(FP8).double()
    scales = torch.exp2(exponents - 127).repeat_interleave(TILE, 1)[:, :end]
    turned = data[:, end:].contiguous().view(torch.bfloat16).double()
    return torch.cat((plain * scales, turned), 1)


def _spoil(cache: torch.Tensor, used: torch.Tensor) -> None:
    """Make what is no number of the vectors that no list names."""
    pages, page_size, _, size = cache.shape
    flat, width = cache.view(torch.uint8).view(pages, -1), size - 8
    for slot in torch.arange(pages * page_size)[~used].tolist():
        page, place = slot // page_size, slot % page_size
        flat[page, place * width : (place + 1) * width] = 0x7F
        begin = page_size * width + place * 8
        flat[page, begin : begin + 8] = 0xFF


# --- attention ------------------------------------------------------------------------------------


def _attention_inputs(definition: Definition, case: Case, generator: torch.Generator) -> Inputs:
    """Lists with -1 in between, and with other keys behind what counts."""
    heads, head_dim = _size(definition, "num_heads"), _size(definition, "head_dim")
    rows = len(case["window"])
    made: Inputs = {
        "query": _normal(generator, rows, heads, head_dim).bfloat16(),
        "sinks": _normal(generator, heads) * 2,
        "bmm1_scale": 0.75 * head_dim**-0.5,
    }
    pools = [("swa", "sparse_indices", "swa_topk_lens", case["window"])]
    if "compressed_kv_cache" in definition["inputs"]:
        names = ("extra_sparse_indices", "extra_sparse_topk_lens")
        pools.append(("compressed", *names, case["extra"]))
    for pool, indices, lengths, counts in pools:
        page_size, size = (_size(definition, f"{pool}_{axis}") for axis in ("page_size", "kv_dim"))
        width = max(counts) + 3 if pool == "compressed" else _size(definition, "sparse_topk")
        pages = max(3, -(-width * 2 // page_size))
        cache = _cache(generator, pages, page_size, size, head_dim)
        slots = pages * page_size
        listed = torch.stack(
            [torch.randperm(slots, generator=generator)[:width] for _ in range(rows)]
        )
        listed = listed.masked_fill(torch.rand(rows, width, generator=generator) < 0.15, -1)
        listed[0, 0] = 0
        count = torch.tensor(counts)
        there = (torch.arange(width) < count[:, None]) & (listed >= 0)
        used = torch.zeros(slots, dtype=torch.bool)
        used[listed[there]] = True
        # What stands behind a list names keys that the query does not see; they are numbers.
        used[listed[listed >= 0]] = True
        _spoil(cache, used)
        made |= {f"{pool}_kv_cache": cache, indices: listed.int(), lengths: count.int()}
    return made


def attention_equals_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """One softmax over the keys of both lists and the sink."""
    if not _attends(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    output = _outputs(run, definition, inputs)["output"]
    assert output.shape == inputs["query"].shape
    _close(output, _attention(inputs), 2**-8, 2e-4)


def _attention(inputs: Inputs) -> torch.Tensor:
    query = inputs["query"].double()
    expected = torch.zeros_like(query)
    pools = [("swa_kv_cache", "sparse_indices", "swa_topk_lens")]
    if "compressed_kv_cache" in inputs:
        names = ("extra_sparse_indices", "extra_sparse_topk_lens")
        pools.append(("compressed_kv_cache", *names))
    every = {cache: _latents(inputs[cache], query.shape[2]) for cache, _, _ in pools}
    for token in range(len(query)):
        keys = []
        for cache, indices, lengths in pools:
            own = inputs[indices][token].long()[: int(inputs[lengths][token])]
            keys.append(every[cache][own[own >= 0]])
        own_keys = torch.cat(keys)
        weights = torch.exp(query[token] @ own_keys.T * float(inputs["bmm1_scale"]))
        total = weights.sum(1) + torch.exp(inputs["sinks"].double())
        expected[token] = (weights / total[:, None]) @ own_keys
    return expected


def large_sinks_and_logits_stay_numbers(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """A sink that takes all weight leaves nothing; one of -inf takes none; logits may be large."""
    if not _attends(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    inputs["bmm1_scale"] = torch.tensor(8.0 * inputs["bmm1_scale"])
    for sink in (80.0, -math.inf):
        inputs["sinks"] = torch.full_like(inputs["sinks"], sink)
        output = _outputs(run, definition, inputs)["output"]
        expected = _attention(inputs)
        # Without keys and without a sink the sum of weights is 0.
        _close(output, expected.nan_to_num(0.0), 2**-7, 1e-3)


# --- the compressor -------------------------------------------------------------------------------


def _compress_inputs(definition: Definition, case: Case, generator: torch.Generator) -> Inputs:
    """Windows of tokens in the buffer and of new ones; some begin before their sequence does."""
    tokens, window = case["tokens"], _size(definition, "window")
    head_dim, state = _size(definition, "head_dim"), _size(definition, "state_dim")
    states, windows = 3 * window + 5, max(1, tokens // 2)
    listed = torch.stack(
        [torch.randperm(states + tokens, generator=generator)[:window] for _ in range(windows)]
    )
    listed[::2, : window // 2] = -1
    places = torch.cat((torch.zeros(1).long(), 1 + torch.randperm(states - 1, generator=generator)))
    places = places[:tokens]
    written = torch.full((tokens,), -1)
    written[: len(places)] = places
    written[1::4] = -1
    return {
        "kv_score_input": _normal(generator, tokens, state),
        "kv_score_buffer": _normal(generator, states, state) * 2,
        "ape": _normal(generator, window, head_dim),
        "window_indices": listed.int(),
        "write_indices": written.int(),
    }


def windows_equal_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Weighted sums over the tokens that are there, and the buffer with the new tokens."""
    if "kv_score_input" not in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    inputs["kv_score_buffer"][0] = 1e30  # what no window names stays out of all of them
    inputs["window_indices"].masked_fill_(inputs["window_indices"] == 0, -1)
    inputs["window_indices"][:, -1] = 1
    outputs = _outputs(run, definition, inputs)
    head_dim = inputs["ape"].shape[1]
    tokens = torch.cat((inputs["kv_score_buffer"], inputs["kv_score_input"])).double()
    for row, listed in enumerate(inputs["window_indices"].tolist()):
        numbers, scores = [], []
        for place, index in enumerate(listed):
            if index < 0:
                continue
            parts = tokens[index].view(-1, head_dim)
            half = len(parts) // 2
            second = half == 2 and place >= len(listed) // 2
            numbers.append(parts[int(second)])
            scores.append(parts[half + int(second)] + inputs["ape"][place].double())
        weights = torch.softmax(torch.stack(scores), 0)
        expected = (weights * torch.stack(numbers)).sum(0)
        _close(outputs["output"][row], expected, 1e-5, 1e-5)
    buffer = inputs["kv_score_buffer"].clone()
    for row, place in enumerate(inputs["write_indices"].tolist()):
        if place >= 0:
            buffer[place] = inputs["kv_score_input"][row]
    assert torch.equal(outputs["updated_kv_score_buffer"], buffer)


# --- rows that are normalised, turned and stored --------------------------------------------------


def _row_inputs(definition: Definition, case: Case, generator: torch.Generator) -> Inputs:
    """Rows from small to large; angles of all sizes; positions and places without an order."""
    tokens, rope = case["tokens"], _size(definition, "rope_dim")
    angle = torch.rand(97, rope // 2, generator=generator) * 2 * math.pi
    made: Inputs = {
        "cos_sin_cache": torch.stack((angle.cos(), angle.sin()), -1).flatten(1),
        "positions": torch.randint(97, (tokens,), generator=generator).int(),
        "weight_scale": 0.375,
    }
    size = torch.exp2(4 * torch.rand(tokens, 1, generator=generator) - 2)
    for name in ("q", "x", "kv", "weight", "weights"):
        if name not in definition["inputs"]:
            continue
        spec = definition["inputs"][name]
        shape = [
            tokens if axis == "num_tokens" else _size(definition, axis) for axis in spec["shape"]
        ]
        value = _normal(generator, *shape)
        if name == "weight":
            value = 1 + value / 4
        elif name != "weights":
            value = value * size.view(-1, *[1] * (len(shape) - 1))
        made[name] = value.to(getattr(torch, spec["dtype"]))
    for name in _CACHES:
        if name in definition["inputs"]:
            made |= _places(definition, name, tokens, generator)
    return made


def _places(definition: Definition, name: str, tokens: int, generator: torch.Generator) -> Inputs:
    axes = definition["inputs"][name]["shape"][1:]
    shape = [_size(definition, axis) for axis in axes]
    pages = -(-tokens // shape[0]) + 2
    cache = torch.randint(256, (pages, *shape), generator=generator).byte()
    places = torch.randperm(pages * shape[0], generator=generator)[:tokens]
    places[2::5] = -1
    dtype = getattr(torch, definition["inputs"][name]["dtype"])
    return {name: cache.view(dtype), "out_loc": places.int()}


def _turned(rows: torch.Tensor, inputs: Inputs, sign: int = 1) -> torch.Tensor:
    """Rows in float64, their last elements turned as complex numbers are."""
    table = inputs["cos_sin_cache"].double()[inputs["positions"].long()]
    angle = torch.view_as_complex(table.view(len(table), -1, 2))
    angle = angle.conj() if sign < 0 else angle
    rope = table.shape[1]
    pairs = rows[..., -rope:].reshape(*rows.shape[:-1], -1, 2)
    tail = torch.view_as_complex(pairs) * angle.view(len(table), *[1] * (rows.ndim - 2), -1)
    return torch.cat((rows[..., :-rope], torch.view_as_real(tail).flatten(-2)), -1)


def _normalised(rows: torch.Tensor, definition: Definition) -> torch.Tensor:
    lines = dict(line.partition(" = ")[::2] for line in definition["reference"].splitlines())
    rows = rows.double()
    return rows / (rows.square().mean(-1, keepdim=True) + float(lines["EPS"])).sqrt()


def _transformed(rows: torch.Tensor) -> torch.Tensor:
    """A Hadamard transform: the sign of each product by the bits that both indices have."""
    size = rows.shape[-1]
    index = torch.arange(size, device=rows.device)
    shared, odd = index[:, None] & index, torch.zeros(size, size, device=rows.device).long()
    for bit in range(size.bit_length()):
        odd ^= (shared >> bit) & 1
    return rows @ (1 - 2 * odd).to(rows.dtype) / math.sqrt(size)


def queries_equal_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """What queries and outputs go through."""
    names = set(definition["inputs"])
    if not names & {"q", "x"} or "kv" in names:
        return
    inputs = make_inputs(definition, case, device, generator)
    if "q" in inputs:
        inputs["q"][:1] *= 2.0**-9  # the epsilon is much of it
        inputs["q"][1:2] *= 2.0**-20  # the least scale is larger than its own
    outputs = _outputs(run, definition, inputs)
    if "x" in names:
        _close(outputs["output"], _turned(inputs["x"].double(), inputs, -1), 2**-8, 1e-5)
    elif "weights" not in names:
        expected = _turned(_normalised(inputs["q"], definition), inputs)
        _close(outputs["output"], expected, 2**-8, 1e-5)
    else:
        expected = _transformed(_turned(inputs["q"].double(), inputs))
        scale = expected.abs().amax(-1).clamp(min=1e-4) / 448
        _quantised_as(outputs["q_fp8"].double() * scale[..., None], expected, scale)
        weights = inputs["weights"].double() * float(inputs["weight_scale"]) * scale
        _close(outputs["weights_out"], weights, 1e-5, 0)


def _quantised_as(found: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor) -> None:
    """Each is the nearest fp8 number times the scale: off by half a step, and a hair."""
    step = torch.maximum(expected.abs() * 2.0**-4, scale[..., None] * 2.0**-10)
    off = (found - expected).abs() - step * (1 + 1e-3)
    assert bool((off <= 0).all()), f"a number is {float(off.max()):.3g} too far from its own"


def stored_rows_equal_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """What is read back of each place, and all other bytes as they were."""
    if "out_loc" not in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    inputs["kv"][:1] *= 2.0**-13
    inputs["kv"][1:2] *= 2.0**-26
    cache = next(name for name in _CACHES if name in inputs)
    updated = _outputs(run, definition, inputs)[f"updated_{cache}"]
    assert updated.shape == inputs[cache].shape
    rows = _normalised(inputs["kv"], definition) * inputs["weight"].double()
    rows = _turned(rows, inputs)
    kept = inputs["out_loc"] >= 0
    places = inputs["out_loc"][kept].long()
    if cache == "kv_cache":
        _latents_are(updated, rows[kept], places)
    else:
        _index_keys_are(updated, _transformed(rows[kept]), places)
    _nothing_else_is_new(updated, inputs[cache], places, cache == "kv_cache")


def _latents_are(cache: torch.Tensor, rows: torch.Tensor, places: torch.Tensor) -> None:
    head_dim = rows.shape[1]
    page_size, size = cache.shape[1], cache.shape[-1]
    rope = size - 8 - head_dim
    found = _latents(cache, head_dim)[places]
    tiles = rows[:, :-rope].reshape(len(rows), -1, TILE)
    raw = tiles.abs().amax(-1).clamp(min=1e-4) / 448
    scale = torch.exp2(torch.ceil(torch.log2(raw)))
    flat = cache.view(torch.uint8).reshape(len(cache), -1)
    flat = flat[:, page_size * (size - 8) :].reshape(-1, 8)
    exponents = flat[places][:, : tiles.shape[1]].double() - 127
    near = (torch.log2(raw) - torch.log2(raw).round()).abs() < 1e-5
    same = torch.exp2(exponents) == scale
    assert bool((same | near).all()), "a scale is another power of two"
    scale = torch.exp2(exponents)
    plain = found[:, :-rope].reshape(tiles.shape)
    _quantised_as(plain, tiles, scale)
    _close(found[:, -rope:], rows[:, -rope:], 2**-8, 1e-6)


def _index_keys_are(cache: torch.Tensor, rows: torch.Tensor, places: torch.Tensor) -> None:
    head_dim, page_size = rows.shape[1], cache.shape[1]
    flat = cache.reshape(len(cache), -1)
    values = flat[:, : page_size * head_dim].reshape(-1, head_dim).contiguous().view(FP8)[places]
    scales = flat[:, page_size * head_dim :].contiguous().view(torch.float32).flatten()[places]
    scale = rows.abs().amax(-1).clamp(min=1e-4) / 448
    _close(scales, scale, 1e-5, 0)
    _quantised_as(values.double() * scale[:, None], rows, scale)


def _nothing_else_is_new(
    updated: torch.Tensor, before: torch.Tensor, places: torch.Tensor, latent: bool
) -> None:
    """Bytes of places that nothing goes to, and the byte of a vector that is no scale."""
    found = _something_else(updated, before, places, latent)
    assert not found, found


def _something_else(
    updated: torch.Tensor, before: torch.Tensor, places: torch.Tensor, latent: bool
) -> str:
    """What is written beside what belongs to places; "" for nothing."""
    page_size, size = before.shape[1], before.shape[-1]
    data = size - 8 if latent else size - 4
    kept = torch.ones(len(before), page_size, dtype=torch.bool, device=before.device)
    kept.view(-1)[places] = False
    one, other = (x.reshape(len(before), -1) for x in (updated, before))
    for begin, width in ((0, data), (page_size * data, size - data)):
        part = slice(begin, begin + page_size * width)
        rows = [x[:, part].reshape(len(before), page_size, width) for x in (one, other)]
        if not torch.equal(rows[0][kept], rows[1][kept]):
            return "something else is written"
        if latent and width == 8 and not torch.equal(rows[0][..., -1], rows[1][..., -1]):
            return "what is no scale is written"
    return ""


# --- all ------------------------------------------------------------------------------------------


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The last token alone gives what it gives among others; no tokens give no rows."""
    if "kv_score_input" in definition["inputs"] or "out_loc" in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    together = _outputs(run, definition, inputs)
    for rows in (slice(-1, None), slice(0, 0)):
        part = {
            name: value[rows]
            if (definition["inputs"][name]["shape"] or [""])[0] == "num_tokens"
            else value
            for name, value in inputs.items()
        }
        for name, value in _outputs(run, definition, part).items():
            _close(value, together[name][rows], 2**-7, 1e-4)


PROPERTIES = [
    attention_equals_float64,
    large_sinks_and_logits_stay_numbers,
    windows_equal_float64,
    queries_equal_float64,
    stored_rows_equal_float64,
    tokens_do_not_mix,
]


def figures(
    definition: Definition, name: str, value: torch.Tensor, inputs: Inputs
) -> torch.Tensor | None:
    """What bytes of new rows stand for, in float64, and a last 0.

    None for outputs that are no caches of bytes. Where anything else is written, all is NaN.
    """
    if name not in ("updated_kv_cache", "updated_k_index_cache_fp8"):
        return None
    latent = name == "updated_kv_cache"
    places = inputs["out_loc"][inputs["out_loc"] >= 0].long()
    if latent:
        rows = _latents(value, _size(definition, "head_dim"))[places]
    else:
        rows = _index_keys(value, definition)[places]
    found: torch.Tensor = torch.nn.functional.pad(rows.flatten(), (0, 1))
    before = inputs[name.removeprefix("updated_")]
    if _something_else(value, before, places, latent):
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
    if name == "updated_kv_cache":
        head_dim = _size(definition, "head_dim")
        kept = inputs["out_loc"] >= 0
        places = inputs["out_loc"][kept].long()
        one, other = (_latents(cache, head_dim)[places] for cache in (actual, expected))
        _near(one, other)
        _nothing_else_is_new(actual, expected, places, True)
    elif name == "updated_k_index_cache_fp8":
        kept = inputs["out_loc"] >= 0
        places = inputs["out_loc"][kept].long()
        one, other = (_index_keys(cache, definition)[places] for cache in (actual, expected))
        _near(one, other)
        _nothing_else_is_new(actual, expected, places, False)
    elif name == "q_fp8":
        _near(actual.double(), expected.double())
    else:
        check(actual, expected)


def _index_keys(cache: torch.Tensor, definition: Definition) -> torch.Tensor:
    head_dim, page_size = _size(definition, "head_dim"), cache.shape[1]
    flat = cache.reshape(len(cache), -1)
    values = flat[:, : page_size * head_dim].reshape(-1, head_dim).contiguous().view(FP8).double()
    scales = flat[:, page_size * head_dim :].contiguous().view(torch.float32).flatten().double()
    return values * scales[:, None]


def _near(one: torch.Tensor, other: torch.Tensor) -> None:
    """No further apart than neighbours among the fp8 numbers of a row's scale."""
    largest = other.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    _close(one / largest, other / largest, 2**-3, 2**-9)
