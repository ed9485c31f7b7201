"""Sizes, inputs and properties of grouped query attention; needs torch alone.

One file for paged decode, paged prefill and ragged prefill: which of them a definition is shows in
its inputs, as attention sinks, a mask and scales of an eight-bit cache do; a sliding window,
chunks, a cap on the logits and that it is not causal in the constants of its reference. Lengths of
a case are tokens; page tables are made from them.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

Data = dict[str, Any]  # a definition, a case, or inputs by name
Run = Callable[..., tuple[torch.Tensor, torch.Tensor]]
Places = tuple[torch.Tensor, ...]  # indices into the key and value tensors

TOLERANCES = {
    # FlashInfer's fa2 prefill kernels sum weights that were rounded to bfloat16: on an H200 their
    # lse was up to 2.4e-3 from ours. 5e-3 on a base-2 logarithm is 0.35 % of the sum, below the
    # 0.4 % of one rounding to bfloat16.
    "lse": (1e-3, 5e-3),
}

_DECODE = ("q", "k_cache", "v_cache", "kv_indptr", "kv_indices")
_PREFILL = ("q", "k_cache", "v_cache", "qo_indptr", "kv_indptr", "kv_indices")
_RAGGED = ("q", "k", "v", "qo_indptr", "kv_indptr")
_OPTIONAL = ("kv_last_page_len", "custom_mask", "sinks", "sm_scale", "k_scale", "v_scale")
_KINDS = {_DECODE: "decode", _PREFILL: "prefill", _RAGGED: "ragged"}
# Attention that is not plain can have the same tensors; then the name tells, or the constants of a
# reference that has a window or a cap.
_WINDOW = r"window|swa"
_CAP = r"cap"
_CHUNK = r"chunk(?:ed)?"
_SINK = r"sinks?"
_FULL = r"non_?causal|bidirectional"
_NEVER = r"alibi"


def _kind(definition: Data) -> str | None:
    """Which kernel this is ("decode", "prefill", "ragged"); None for any other attention."""
    names = [name for name in definition["inputs"] if name not in _OPTIONAL]
    other = _NEVER
    other += "" if _window(definition) else f"|{_WINDOW}"
    other += "" if _cap(definition) else f"|{_CAP}"
    other += "" if _chunk(definition) else f"|{_CHUNK}"
    other += "" if _has_sinks(definition) else f"|{_SINK}"
    other += f"|{_FULL}" if _causal(definition) else ""
    if re.search(rf"(_|soft|logits?)({other})[\dp]*(_|$)", definition["name"].lower()):
        return None
    return _KINDS.get(tuple(names))


def _window(definition: Data) -> int | None:
    """How many keys a query sees at most, its own included; None where it sees all."""
    found = re.search(r"^SLIDING_WINDOW = (\d+)$", definition["reference"], re.MULTILINE)
    return int(found[1]) if found else None


def _cap(definition: Data) -> float | None:
    """What a scaled logit is bounded by; None where by nothing."""
    found = re.search(r"^LOGIT_CAP = ([\d.e+-]+)$", definition["reference"], re.MULTILINE)
    return float(found[1]) if found else None


def _chunk(definition: Data) -> int | None:
    """Keys of a chunk, of which a query sees its own alone; None where there are none."""
    found = re.search(r"^ATTENTION_CHUNK = (\d+)$", definition["reference"], re.MULTILINE)
    return int(found[1]) if found else None


def _causal(definition: Data) -> bool:
    """Whether a query sees no key behind its own."""
    full = re.search(r"^CAUSAL = False\b", definition["reference"], re.MULTILINE)
    return not full and not _has_mask(definition)


def _has_mask(definition: Data) -> bool:
    """Whether an input says which keys each query sees."""
    return "custom_mask" in definition["inputs"]


def _has_scales(definition: Data) -> bool:
    """Whether the cache's numbers are multiplied by scales."""
    return "k_scale" in definition["inputs"]


def _has_sinks(definition: Data) -> bool:
    """Whether a logit of each head joins the sum of its softmax."""
    return "sinks" in definition["inputs"]


def _axis(definition: Data, name: str) -> int:
    return int(definition["axes"][name]["value"])


def _widths(definition: Data) -> tuple[int, int]:
    """Sizes of a key head and of a value head."""
    if "head_dim" in definition["axes"]:
        return _axis(definition, "head_dim"), _axis(definition, "head_dim")
    return _axis(definition, "head_dim_qk"), _axis(definition, "head_dim_vo")


def cases(definition: Data) -> list[Data]:
    """Batches as (query length, key length) of each sequence, and the factor on 1/sqrt(head_dim).

    A definition of other attention than the three kernels here gets one case, which says so.
    """
    kind = _kind(definition)
    if kind is None:
        return [{"id": "not_plain_attention", "lengths": [], "scale": 1.0}]
    page = _axis(definition, "page_size") if kind != "ragged" else 1
    some = max(page, 7)  # a length that fills pages, yet is not tiny when a page holds one token
    # Enough keys for kernels that split them, less where there are many heads.
    width = _axis(definition, "num_kv_heads") * _widths(definition)[0]
    many = max(2 * some + 5, min(1000, 2**19 // width))
    if kind == "decode":
        lengths = {
            "one_token": [1],
            "batch_of_one": [2 * some + 3],
            "uneven_lengths": [some + 1, 1, 3 * some - 1, some, 2],
            "sequences_without_keys": [0, 5, 0, some + 2, 0],
            "other_scale": [some + 4, 9],
            "many_keys": [many, many // 2 + 1],
        }
        batches = {name: [(1, n) for n in keys] for name, keys in lengths.items()}
    else:
        batches = {
            "one_token": [(1, 1)],
            "batch_of_one": [(5, 5)],
            "uneven_prompts": [(6, 6), (1, 1), (some + 2, some + 2), (3, 3)],
            "prompts_with_prefix": [(4, some + 9), (1, 3 * some - 2), (7, 2 * some), (2, 2)],
            "one_query_each": [(1, some), (1, 3), (1, 2 * some + 1)],
            "sequences_without_keys": [(3, 0), (2, 2), (0, 6), (0, 0), (4, 11)],
            "other_scale": [(3, 8), (4, 4)],
            "many_queries": [(140, 200), (9, 60)],
        }
    scales = {"other_scale": 2.5}
    window, cap = _window(definition), _cap(definition)
    if window is not None:
        queries = 1 if kind == "decode" else 5
        ends = [window - 1, window, window + 1, window + page, 2 * window + 3]
        if window > 1024:  # inputs would be large
            ends = [window + page + 2, window // 2]
        batches["around_the_window"] = [(min(queries, end), end) for end in ends if end > 0]
        if kind != "decode" and window <= 512:
            batches["prompts_beyond_the_window"] = [(window + 9, window + 9), (2, 2)]
    chunk = _chunk(definition)
    if chunk is not None:
        queries = 1 if kind == "decode" else 5
        ends = [chunk - 1, chunk, chunk + 1, chunk + page + 2, 2 * chunk, 2 * chunk + 3]
        if chunk > 1024:  # inputs would be large
            ends = [chunk, chunk + 2]
        batches["around_a_chunk"] = [(min(queries, end), end) for end in ends if end > 0]
        if kind != "decode":
            # Queries on both sides of where a chunk begins, and the last key's own is the first.
            batches["one_query_beyond_a_chunk"] = [(min(5, chunk + 1), chunk + 1)]
            batches["one_query_before_a_chunk"] = [(5, chunk + 4)]
        if kind != "decode" and chunk <= 512:
            batches["prompts_beyond_a_chunk"] = [(2 * chunk + 5, 2 * chunk + 9), (2, 2)]
    if _has_sinks(definition):
        uneven = "uneven_lengths" if kind == "decode" else "uneven_prompts"
        batches["sinks_far_off"] = batches[uneven]
        scales["sinks_far_off"] = 60.0  # exponentials of such logits overflow, too
    if cap is not None:
        # The logits have this standard deviation, so that the bound matters.
        uneven = "uneven_lengths" if kind == "decode" else "uneven_prompts"
        batches["logits_near_the_cap"] = batches[uneven]
        scales["logits_near_the_cap"] = cap
    return [
        {
            "id": name,
            "lengths": [list(pair) for pair in batch],
            "scale": scales.get(name, 1.0),
        }
        for name, batch in batches.items()
    ]


def make_inputs(
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Data:
    """Normal q, k and v; pages in random places, everything unused in the cache NaN."""
    kind = _kind(definition)
    if kind is None:
        import pytest

        pytest.skip(f"{definition['name']} is not the plain attention that these tests know")
    heads = _axis(definition, "num_qo_heads")
    kv_heads, (head_dim, value_dim) = _axis(definition, "num_kv_heads"), _widths(definition)
    q_len = [pair[0] for pair in case["lengths"]]
    kv_len = [pair[1] for pair in case["lengths"]]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16)

    inputs: Data = {"q": normal(sum(q_len), heads, head_dim)}
    k, v = normal(sum(kv_len), kv_heads, head_dim), normal(sum(kv_len), kv_heads, value_dim)
    if kind == "ragged":
        inputs.update(k=k, v=v, qo_indptr=_indptr(q_len), kv_indptr=_indptr(kv_len))
    else:
        page = _axis(definition, "page_size")
        pages = [-(-n // page) for n in kv_len]
        count = sum(pages) + 3
        # Page 0 stays unused: a page table that is padded with 0 meets NaN there.
        kv_indices = torch.randperm(count - 1, generator=generator)[: sum(pages)].int() + 1
        starts = itertools.accumulate(pages, initial=0)  # first page of each, within kv_indices
        tokens = [torch.arange(n) + start * page for n, start in zip(kv_len, starts, strict=False)]
        token = torch.cat([torch.arange(0), *tokens])
        place, slot = kv_indices[token // page].long(), token % page
        for name, values in (("k_cache", k), ("v_cache", v)):
            shape = (count, page, *values.shape[1:])
            cache = torch.full(shape, math.nan, dtype=torch.bfloat16)
            cache[place, slot] = values
            inputs[name] = cache.to(getattr(torch, definition["inputs"][name]["dtype"]))
        if kind == "prefill":
            inputs["qo_indptr"] = _indptr(q_len)
        inputs.update(kv_indptr=_indptr(pages), kv_indices=kv_indices)
        if "kv_last_page_len" in definition["inputs"]:
            last = [(n - 1) % page + 1 if n else 0 for n in kv_len]
            inputs["kv_last_page_len"] = torch.tensor(last, dtype=torch.int32)
    if _has_mask(definition):
        inputs["custom_mask"] = _random_mask(q_len, kv_len, generator)
    if _has_sinks(definition):
        # As large as the sum over the keys is, so that they take about half of the weights; or
        # so large that only a difference of logits has an exponential.
        sinks = torch.randn(heads, generator=generator) + math.log(1 + max(kv_len, default=0)) / 2
        far = 100.0 if case.get("id") == "sinks_far_off" else 1.0
        inputs["sinks"] = sinks * far * (-1.0) ** torch.arange(heads) if far > 1 else sinks
    inputs["sm_scale"] = case["scale"] * head_dim**-0.5
    if _has_scales(definition):
        first, second = torch.rand(2, generator=generator).tolist()
        inputs.update(k_scale=0.5 + first / 2, v_scale=1.25 + second / 2)
    return {n: x.to(device) if isinstance(x, torch.Tensor) else x for n, x in inputs.items()}


def _random_mask(q_len: list[int], kv_len: list[int], generator: torch.Generator) -> torch.Tensor:
    """Every second sequence verifies drafts, each after a random one of those before it.

    Of the others each query sees random keys, among them such behind its own, and a few none.
    """
    parts = [torch.zeros((0, 0), dtype=torch.bool)]
    for number, (n, m) in enumerate(zip(q_len, kv_len, strict=True)):
        seen = torch.rand((n, m), generator=generator) < 0.7
        seen &= torch.rand((n, 1), generator=generator) < 0.95
        parents = torch.rand(n, generator=generator) * torch.arange(n)
        if number % 2 == 0 and n <= m:
            seen[:] = torch.arange(m) < m - n
            for draft in range(n):
                if draft:
                    seen[draft] |= seen[int(parents[draft])]
                seen[draft, m - n + draft] = True
        parts.append(seen)
    return torch.cat([part.flatten() for part in parts])


def _indptr(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)


def _key_places(definition: Data, inputs: Data) -> list[Places]:
    """For each sequence, the index of each of its keys in the key and value tensors."""
    indptr = inputs["kv_indptr"].tolist()
    spans = list(itertools.pairwise(indptr))
    if _kind(definition) == "ragged":
        return [(torch.arange(start, end),) for start, end in spans]
    page = _axis(definition, "page_size")
    last = inputs.get("kv_last_page_len")
    last = [page] * len(spans) if last is None else last.tolist()
    places: list[Places] = []
    for (start, end), filled in zip(spans, last, strict=True):
        token = torch.arange((end - start - 1) * page + filled if end > start else 0)
        numbers = inputs["kv_indices"][start:end].cpu().long()
        places.append((numbers[token // page], token % page))
    return places


def _key_names(definition: Data) -> tuple[str, str]:
    return ("k", "v") if _kind(definition) == "ragged" else ("k_cache", "v_cache")


def _query_spans(definition: Data, inputs: Data) -> list[tuple[int, int]]:
    if _kind(definition) == "decode":
        return [(row, row + 1) for row in range(inputs["q"].shape[0])]
    return list(itertools.pairwise(inputs["qo_indptr"].tolist()))


def _reach(definition: Data, inputs: Data) -> torch.Tensor:
    """How far each query row sees: the keys up to the one that is aligned with it, or all."""
    counts = []
    places = _key_places(definition, inputs)
    for (start, end), place in zip(_query_spans(definition, inputs), places, strict=True):
        n, m = end - start, len(place[0])
        counts += [max(0, m - n + i + 1) if _causal(definition) else m for i in range(n)]
    return torch.tensor(counts)


def _seen(definition: Data, inputs: Data) -> list[torch.Tensor]:
    """For each sequence, which of its keys each of its query rows sees: bool [rows, keys]."""
    reach = _reach(definition, inputs)
    window, chunk = _window(definition), _chunk(definition)
    first = torch.zeros_like(reach)
    if chunk is not None:
        first = (reach - 1).clamp(min=0) // chunk * chunk
    elif window is not None:
        first = (reach - window).clamp(min=0)
    found, begin = [], 0
    places = _key_places(definition, inputs)
    for (start, end), place in zip(_query_spans(definition, inputs), places, strict=True):
        key = torch.arange(len(place[0]))
        seen = (key >= first[start:end, None]) & (key < reach[start:end, None])
        if _has_mask(definition):
            mask = inputs["custom_mask"][begin : begin + seen.numel()]
            own = torch.arange(end - start)[:, None] + len(key) - (end - start)
            near = key > own - window if window is not None else key >= 0
            seen = mask.cpu().view(seen.shape) & near
            begin += seen.numel()
        found.append(seen)
    return found


def _visible(definition: Data, inputs: Data) -> torch.Tensor:
    """How many keys each query row sees."""
    counts = [seen.sum(dim=1) for seen in _seen(definition, inputs)]
    return torch.cat([torch.zeros(0, dtype=torch.long), *counts])


def _sinks(definition: Data, inputs: Data) -> torch.Tensor:
    """The logit of each head that joins its softmax's sum, in float64: -inf where there is none."""
    if _has_sinks(definition):
        sinks: torch.Tensor = inputs["sinks"]
        return sinks.cpu().double()
    return torch.full((_axis(definition, "num_qo_heads"),), -math.inf, dtype=torch.float64)


def _dense(definition: Data, inputs: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one sequence at a time, with all its logits, in float64 on the CPU."""
    heads = _axis(definition, "num_qo_heads")
    group = heads // _axis(definition, "num_kv_heads")
    q = inputs["q"].cpu().double()
    keys, values = (inputs[name].cpu() for name in _key_names(definition))
    k_scale, v_scale = (float(inputs.get(name, 1.0)) for name in ("k_scale", "v_scale"))
    output = q.new_zeros((*q.shape[:2], values.shape[-1]))
    sinks = _sinks(definition, inputs)
    lse = (sinks / math.log(2)).repeat(q.shape[0], 1)
    cap, masks = _cap(definition), _seen(definition, inputs)
    spans, places = _query_spans(definition, inputs), _key_places(definition, inputs)
    for (start, end), place, seen in zip(spans, places, masks, strict=True):
        if start == end or len(place[0]) == 0:
            continue
        k = _read(keys, place).movedim(0, 1) * k_scale  # [kv head, key, head_dim]
        v = _read(values, place).movedim(0, 1) * v_scale
        rows = q[start:end].movedim(0, 1)  # [head, row, head_dim]
        logits = torch.cat([rows[h : h + 1] @ k[h // group].T for h in range(heads)])
        logits = logits * float(inputs["sm_scale"])
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        logits = logits.masked_fill(~seen, -math.inf)
        # The sink is one more key, whose value is 0.
        column = sinks[:, None, None].expand(heads, end - start, 1)
        logits = torch.cat([logits, column], dim=2)
        lse[start:end] = torch.logsumexp(logits, 2).T / math.log(2)
        weights = torch.softmax(logits, 2).nan_to_num(0.0)  # NaN where a row sees no key
        weights = weights[:, :, :-1]
        parts = [weights[h : h + 1] @ v[h // group] for h in range(heads)]
        output[start:end] = torch.cat(parts).movedim(0, 1)
    return output, lse


def _read(tensor: torch.Tensor, place: Places) -> torch.Tensor:
    """What stands in these places, in float64."""
    return tensor.double()[place] if tensor.element_size() == 1 else tensor[place].double()


def _write(tensor: torch.Tensor, place: Places, values: torch.Tensor) -> None:
    """Put `values`, rounded to the tensor's dtype, into these places."""
    values = values.to(tensor.device, tensor.dtype)
    if tensor.element_size() == 1:  # bytes: not every version of torch puts eight-bit numbers
        tensor, values = tensor.view(torch.uint8), values.view(torch.uint8)
    tensor[place] = values


def _run(run: Run, inputs: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """What `run` gives, on the CPU, its form checked."""
    output, lse = run(*inputs.values())
    q = inputs["q"]
    width = inputs["v" if "v" in inputs else "v_cache"].shape[-1]
    assert output.shape == (*q.shape[:2], width), f"output has shape {tuple(output.shape)}"
    assert output.dtype == torch.bfloat16, f"output is {output.dtype}"
    assert lse.shape == q.shape[:2], f"lse has shape {tuple(lse.shape)}"
    assert lse.dtype == torch.float32, f"lse is {lse.dtype}"
    return output.cpu().double(), lse.cpu().double()


def _equal(
    actual: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    lse_tolerance: float = 1e-4,
) -> None:
    """Output as close as bfloat16 allows, lse as close as float32 sums allow."""
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-2, atol=8e-3)
    torch.testing.assert_close(actual[1], expected[1], rtol=lse_tolerance, atol=lse_tolerance)


def equals_dense_softmax(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The case agrees with a dense softmax over each sequence in float64."""
    inputs = make_inputs(definition, case, device, generator)
    _equal(_run(run, inputs), _dense(definition, inputs))


def edges_of_a_batch(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """No sequences, none with keys, more queries than keys: as dense softmax has it."""
    batches = [[], [(1, 0)], [(1, 0), (1, 0), (1, 4)]]
    if _kind(definition) != "decode":
        batches += [[(0, 0)], [(0, 5)], [(5, 2), (3, 3), (1, 0), (9, 8)]]
    for lengths in batches:
        inputs = make_inputs(definition, {**case, "lengths": lengths}, device, generator)
        _equal(_run(run, inputs), _dense(definition, inputs))


def _sees_the_last_alone(definition: Data) -> bool:
    """Whether the last key of a sequence is one that some of its queries see and others do not."""
    return _kind(definition) != "decode" and (_causal(definition) or _has_mask(definition))


def keys_out_of_sight_do_not_matter(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Nothing changes with what unused places hold, keys behind a query's own or out of reach."""
    inputs = make_inputs(definition, case, device, generator)
    before = _run(run, inputs)
    same = torch.ones(inputs["q"].shape[0], dtype=torch.bool)
    changed = {name: torch.full(inputs[name].shape, -300.0) for name in _key_names(definition)}
    changed = {name: x.to(inputs[name].dtype) for name, x in changed.items()}
    spans, places = _query_spans(definition, inputs), _key_places(definition, inputs)
    for span, place, seen in zip(spans, places, _seen(definition, inputs), strict=True):
        kept = seen.any(dim=0)
        if _sees_the_last_alone(definition) and len(kept):
            # In prefill only the last query of a sequence sees the last key, so all but that one
            # query have to come out as before when it changes.
            kept[-1] = False
            same[slice(*span)] = ~seen[:, -1]
        kept_places = tuple(x[kept] for x in place)
        for name, tensor in changed.items():
            _write(tensor, kept_places, _read(inputs[name].cpu(), kept_places))
    inputs.update({name: x.to(device) for name, x in changed.items()})
    after = _run(run, inputs)
    _equal([x[same] for x in after], [x[same] for x in before], lse_tolerance=1e-5)


def order_in_memory_does_not_matter(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The same sequences in another order and other places give the same rows."""
    inputs = make_inputs(definition, case, device, generator)
    lengths = list(reversed(case["lengths"]))
    moved = make_inputs(definition, {**case, "lengths": lengths}, device, generator)
    spans = reversed(_query_spans(definition, inputs))
    rows = torch.tensor([row for span in spans for row in range(*span)], dtype=torch.long)
    moved["q"] = inputs["q"][rows.to(device)]
    if _has_sinks(definition):
        moved["sinks"] = inputs["sinks"]
    sources = reversed(_key_places(definition, inputs))
    for source, target in zip(sources, _key_places(definition, moved), strict=True):
        for name in _key_names(definition):
            _write(moved[name], target, _read(inputs[name], source))
    if _has_mask(definition):
        parts = [seen.flatten() for seen in reversed(_seen(definition, inputs))]
        moved["custom_mask"] = torch.cat([*parts, torch.zeros(0, dtype=torch.bool)]).to(device)
    moved.update({name: inputs[name] for name in ("k_scale", "v_scale") if name in inputs})
    expected = [x[rows] for x in _run(run, inputs)]
    _equal(_run(run, moved), expected, lse_tolerance=1e-5)


def equal_values_come_out(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Where all values of a KV head are alike, its query heads give what the sink leaves of it."""
    inputs = make_inputs(definition, case, device, generator)
    kv_heads, value_dim = _axis(definition, "num_kv_heads"), _widths(definition)[1]
    group = _axis(definition, "num_qo_heads") // kv_heads
    name = _key_names(definition)[1]
    value = torch.randn((kv_heads, value_dim), generator=generator).to(inputs[name].dtype)
    for place in _key_places(definition, inputs):
        _write(inputs[name], place, value.expand(len(place[0]), -1, -1))
    value = value.double() * inputs.get("v_scale", 1.0)
    output, lse = _run(run, inputs)
    # All of it where there is no sink, to which the lse then is not compared.
    left = -torch.expm1(_sinks(definition, inputs) - lse * math.log(2)) if lse.numel() else lse
    left = left if _has_sinks(definition) else torch.ones_like(lse)
    expected = value.repeat_interleave(group, 0).expand(output.shape) * left[..., None]
    seen = _visible(definition, inputs) > 0
    near = 1e-3 if _has_sinks(definition) else 1e-6  # what is left is a difference
    torch.testing.assert_close(output[seen], expected[seen], rtol=1e-2, atol=near)
    assert not output[~seen].any(), "a query without keys has to give 0"


def zero_queries_count_keys(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """With q = 0 every weight is alike and lse is the base-2 logarithm of the number of keys.

    A sink counts as many keys as its exponential says.

    Where all values are alike as well, what comes out is that value and nothing beside it: errors
    of weights that are alike add up.
    """
    inputs = make_inputs(definition, case, device, generator)
    inputs["q"] = torch.zeros_like(inputs["q"])
    values = inputs[_key_names(definition)[1]]
    for place in _key_places(definition, inputs):
        _write(values, place, torch.ones(len(place[0]), *values.shape[-2:]))
    if _has_scales(definition):
        inputs["v_scale"] = 1.0
    heads = _axis(definition, "num_qo_heads")
    if _has_sinks(definition):
        inputs["sinks"] = torch.arange(1, heads + 1, device=device).float().log()
    output, lse = _run(run, inputs)
    visible = _visible(definition, inputs)
    total = visible[:, None] + _sinks(definition, inputs).exp()
    torch.testing.assert_close(lse, total.log2(), rtol=1e-5, atol=1e-5)
    if _has_sinks(definition):
        share = (visible[:, None] / total)[..., None].expand(output.shape)
        torch.testing.assert_close(output, share, rtol=2**-8, atol=0.0)
    else:
        assert bool((output[visible > 0] == 1.0).all()), "the mean of ones is one"


def scale_multiplies_logits(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Twice the queries at half the scale change nothing; the scale may be a tensor.

    A scale of the values multiplies the output.
    """
    inputs = make_inputs(definition, case, device, generator)
    expected = _run(run, inputs)
    inputs["q"] = inputs["q"] * 2
    if _has_scales(definition):
        expected = (expected[0] * 2, expected[1])
        inputs["k_scale"] = torch.tensor(inputs["k_scale"], device=device)
        inputs["v_scale"] = torch.tensor(inputs["v_scale"] * 2, device=device)
    inputs["sm_scale"] = torch.tensor(inputs["sm_scale"] / 2, device=device)
    _equal(_run(run, inputs), expected, lse_tolerance=1e-5)


PROPERTIES = [
    equals_dense_softmax,
    edges_of_a_batch,
    keys_out_of_sight_do_not_matter,
    order_in_memory_does_not_matter,
    equal_values_come_out,
    zero_queries_count_keys,
    scale_multiplies_logits,
]
