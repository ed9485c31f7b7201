"""Sizes, inputs and properties for dsa_paged: sparse latent attention and the choice of keys."""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]
Device = torch.device | str

# FlashInfer adds up the softmax weights after rounding them to bfloat16 (8 significant bits), which
# moves a base-2 logarithm of their sum by up to 2**-9 * log2(e) = 0.003. The properties below hold
# the reference's own lse to 1e-4.
TOLERANCES = {"lse": (1e-3, 5e-3)}
# What stands in a page table behind a sequence's last page: no cache has so many pages.
NO_PAGE = 2**31 - 1
# Elements of a latent vector that have a scale in common, in a cache of bytes.
BLOCK = 128
# What rounding to bfloat16 changes a number by at most, relative to it.
HALF_PLACE = 2.0**-8
# How often a right kernel may be refused, of one comparison.
CHANCE = 1e-6


def cases(definition: Definition) -> list[Case]:
    """Keys of the sequence of each query.

    "cuda" holds larger ones, for where there is a GPU.
    """
    topk, page = _size(definition, "topk"), _size(definition, "page_size")
    found: list[Case] = [
        {"id": "one_key", "keys": [1]},
        {"id": "no_keys", "keys": [0, 5, 0, 9, 0]},
        {"id": "only_empty_sequences", "keys": [0, 0]},
        {"id": "last_page", "keys": [page, page + 1, 2 * page - 1, page]},
        {"id": "about_as_many_as_are_chosen", "keys": [topk - 1, topk, topk + 1]},
        {
            "id": "long_and_short",
            "keys": [topk + 1150, 3, topk // 2 + 1],
            "cuda": [33000, 3, topk, *[topk // 2 + 137 * i for i in range(40)]],
        },
    ]
    if _chooses(definition):
        found.append({"id": "equal_scores", "keys": [topk + 90, topk // 2], "coarse": True})
    return found


def make_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Random inputs over shuffled pages; memory that no query may read is no number."""
    made = _index_inputs if _chooses(definition) else _attention_inputs
    values = made(definition, case, device, generator)
    if set(values) != set(definition["inputs"]):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in ((name, values[name]) for name in definition["inputs"])
    }


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[..., None],
    inputs: Inputs,
) -> None:
    """Hold what was chosen by both against the scores; other outputs are compared.

    Kernels round the product of a head to bfloat16, or sum products of fp8 with the 14 bits that
    Hopper's tensor cores carry: keys whose scores are closer than that may be chosen in turn.
    Of a cache of bytes they make numbers in bfloat16; see `_rounding`.
    """
    if name != "topk_indices":
        check(actual, expected, _rounding(inputs, name) if "kv_cache" in inputs else None)
        return
    _assert_chosen(inputs, actual, "the reference", exact=True)
    _assert_chosen(inputs, expected, "the ground truth", exact=False)


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _chooses(definition: Definition) -> bool:
    return "topk_indices" in definition["outputs"]


def _lengths(case: Case, device: Device) -> list[int]:
    keys: list[int] = case["keys"]
    return case.get("cuda", keys) if torch.device(device).type == "cuda" else keys


def _pages(
    keys: list[int], page_size: int, generator: torch.Generator
) -> tuple[int, list[torch.Tensor]]:
    """Pages of the cache, some of which are free, and the numbers of those of each sequence."""
    counts = [-(-length // page_size) for length in keys]
    num_pages = sum(counts) + 3
    order = torch.randperm(num_pages, generator=generator)
    return num_pages, list(torch.split(order[: sum(counts)], counts))


# --- sparse attention -----------------------------------------------------------------------------


def _attention_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Each query sees some keys of its sequence, in any order and with gaps of -1 between them."""
    heads, ckv, kpe, page_size, topk = (
        _size(definition, axis)
        for axis in ("num_qo_heads", "head_dim_ckv", "head_dim_kpe", "page_size", "topk")
    )
    keys = _lengths(case, device)
    num_pages, tables = _pages(keys, page_size, generator)
    indices = torch.full((len(keys), topk), -1, dtype=torch.int32)
    for row, (length, pages) in enumerate(zip(keys, tables, strict=True)):
        token = torch.randperm(length, generator=generator)[:topk]
        place = pages[token // page_size] * page_size + token % page_size
        columns = torch.randperm(topk, generator=generator)[: len(place)]
        indices[row, columns] = place.int()

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16)

    chosen = torch.zeros(num_pages * page_size, dtype=torch.bool)
    chosen[indices[indices >= 0].long()] = True
    parts = {"ckv_cache": normal(len(chosen), ckv), "kpe_cache": normal(len(chosen), kpe)}
    for part in parts.values():
        part[~chosen] = math.nan
    if "kv_cache" in definition["inputs"]:
        parts = {"kv_cache": _bytes_of(parts["ckv_cache"], parts["kpe_cache"], generator)}
    return {
        "q_nope": normal(len(keys), heads, ckv),
        "q_pe": normal(len(keys), heads, kpe),
        **{name: part.view(num_pages, page_size, -1) for name, part in parts.items()},
        "sparse_indices": indices,
        # As if each head had 128 dimensions beside the rotary ones before absorption; that is
        # not the size of the latent space.
        "sm_scale": 1 / math.sqrt(128 + kpe),
    }


def _bytes_of(latent: torch.Tensor, rope: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Bytes of tokens [n, kv_dim]: numbers of fp8, a float32 scale for a block, bfloat16.

    Scales are those that make the largest number fp8's, times up to two: of about the same size,
    and no powers of two. Some are larger or smaller than those beside them.
    """
    blocks = latent.float().view(len(latent), -1, BLOCK)
    scales = blocks.abs().amax(-1) / 448 * (1 + torch.rand(blocks.shape[:2], generator=generator))
    numbers = (blocks / scales[..., None]).to(torch.float8_e4m3fn)
    scales[::3, 0] *= 1.5
    scales[1::3, -1] /= 8
    parts = (numbers.flatten(1), scales, rope)
    return torch.cat([part.contiguous().view(torch.int8) for part in parts], 1)


def _caches(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent vectors and rope parts of all places [n, ...] in float64; 0 for what is no number."""
    if "ckv_cache" in inputs:
        parts = inputs["ckv_cache"].double(), inputs["kpe_cache"].double()
    else:
        cache, width = inputs["kv_cache"], inputs["q_nope"].shape[2]
        end = width + width // BLOCK * 4
        numbers = cache[..., :width].contiguous().view(torch.float8_e4m3fn).double()
        scales = cache[..., width:end].contiguous().view(torch.float32).double()
        latent = (numbers.view(*scales.shape, BLOCK) * scales[..., None]).flatten(-2)
        parts = latent, cache[..., end:].contiguous().view(torch.bfloat16).double()
    return parts[0].flatten(0, 1).nan_to_num(), parts[1].flatten(0, 1).nan_to_num()


def _rounding(inputs: Inputs, name: str) -> torch.Tensor:
    """How far attention to keys that were rounded to bfloat16 may lie from that to the exact ones.

    Rounding makes of a number one between 1 - d and 1 + d times as large, with d = `HALF_PLACE`,
    independently of the others. So a logit is off by a sum with at most the tails of a normal
    distribution of the variance e = scale^2 * d^2 / 3 * sum (q * k)^2, where k are the elements
    with a scale. To first order in that, with the weights p of the softmax,
    - lse is off by the sum of p * (a logit's error), and by that of weights that are rounded too,
    - an output o by the sum of p * (v - o) * (a logit's error) + p * v * (two errors of at most d,
      of the value and of its weight).
    The largest of n such errors is below sqrt(2 log(2 n / p)) times their spread but for a chance
    of p.
    """
    values, rope = _caches(inputs)
    q = inputs["q_nope"].double()
    q_pe, scale = inputs["q_pe"].double(), float(inputs["sm_scale"])
    of_output, of_lse = torch.zeros_like(q), torch.zeros_like(q[..., 0])
    for token, indices in enumerate(inputs["sparse_indices"].long()):
        place = indices[indices >= 0]
        v = values[place]
        weights = torch.softmax((q[token] @ v.T + q_pe[token] @ rope[place].T) * scale, -1)
        output = weights @ v
        logit = scale**2 * HALF_PLACE**2 / 3 * (q[token].square() @ v.square().T)
        moved = weights.square() * logit
        # sum of moved * (v - output)^2, without all differences at once.
        of_output[token] = moved @ v.square() - 2 * output * (moved @ v)
        of_output[token] += output.square() * moved.sum(-1, keepdim=True)
        of_output[token] += 2 * HALF_PLACE**2 / 3 * (weights.square() @ v.square())
        rounded = weights.square() * HALF_PLACE**2 / 3
        of_lse[token] = (moved + rounded).sum(-1) / math.log(2) ** 2
    found = of_output if name == "output" else of_lse
    most = math.sqrt(2 * math.log(2 * max(1, found.numel()) / CHANCE))
    return most * found.clamp(min=0).sqrt()


def _attention_run(run: Run, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    output, lse = run(*inputs.values())
    assert output.shape == inputs["q_nope"].shape
    assert output.dtype == inputs["q_nope"].dtype
    assert lse.shape == inputs["q_nope"].shape[:2]
    assert lse.dtype == torch.float32
    return output, lse


def _dense(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and lse in float64: all keys of the cache, of which those not chosen are hidden."""
    device = inputs["q_nope"].device
    output = torch.zeros(inputs["q_nope"].shape, dtype=torch.float64, device=device)
    lse = torch.full(inputs["q_nope"].shape[:2], -math.inf, dtype=torch.float64, device=device)
    values, rope = _caches(inputs)
    keys = torch.cat((values, rope), -1)
    q = torch.cat((inputs["q_nope"], inputs["q_pe"]), -1).double()
    for token, indices in enumerate(inputs["sparse_indices"].long()):
        hidden = torch.ones(len(keys), dtype=torch.bool, device=device)
        hidden[indices[indices >= 0]] = False
        logits = (q[token] @ keys.T) * float(inputs["sm_scale"])
        logits = logits.masked_fill(hidden, -math.inf)
        lse[token] = torch.logsumexp(logits, -1) / math.log(2)
        output[token] = torch.softmax(logits, -1).nan_to_num(0) @ values
    return output, lse


def _close(actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol)


def equals_dense_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The reference agrees with a dense computation in float64, up to rounding to bfloat16."""
    if _chooses(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    output, lse = _attention_run(run, inputs)
    expected_output, expected_lse = _dense(inputs)
    _close(output, expected_output, 2**-8, 1e-4)
    _close(lse, expected_lse, 1e-5, 1e-4)


def keys_have_no_order(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The same keys in another order, and with -1 at other places, give the same."""
    if _chooses(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    output, lse = _attention_run(run, inputs)
    order = torch.randperm(inputs["sparse_indices"].shape[1], generator=generator).to(device)
    inputs["sparse_indices"] = inputs["sparse_indices"][:, order].contiguous()
    again, lse_again = _attention_run(run, inputs)
    _close(output, again, 2**-7, 1e-4)
    _close(lse, lse_again, 1e-5, 1e-4)


def scale_multiplies_the_logits(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Twice the queries at half the scale are the same; a 0-d tensor serves as the scale."""
    if _chooses(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    output, lse = _attention_run(run, inputs)
    inputs["q_nope"] = inputs["q_nope"] * 2
    inputs["q_pe"] = inputs["q_pe"] * 2
    inputs["sm_scale"] = torch.tensor(inputs["sm_scale"] / 2, dtype=torch.float32)
    again, lse_again = _attention_run(run, inputs)
    _close(output, again, 2**-7, 1e-4)
    _close(lse, lse_again, 1e-5, 1e-4)


def no_queries_give_no_rows(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """A batch without queries has outputs without rows."""
    inputs = make_inputs(definition, case, device, generator)
    rows = len(_lengths(case, device))
    none = {
        name: value[:0]
        if isinstance(value, torch.Tensor) and value.shape[0] == rows and "cache" not in name
        else value
        for name, value in inputs.items()
    }
    outputs = run(*none.values())
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        assert output.shape[0] == 0


# --- choice of keys -------------------------------------------------------------------------------


def _index_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Scores of both signs and many sizes; in places that are not used, NaN and wrong pages.

    With "coarse", elements and scales are so few different numbers that many scores are equal.
    """
    heads, dim, page_size, topk = (
        _size(definition, axis)
        for axis in ("num_index_heads", "index_head_dim", "page_size", "topk")
    )
    keys = _lengths(case, device)
    num_pages, tables = _pages(keys, page_size, generator)
    width = max(-(-topk // page_size), *(len(pages) for pages in tables)) + 1
    table = torch.full((len(keys), width), NO_PAGE, dtype=torch.int32)
    for row, pages in enumerate(tables):
        table[row, : len(pages)] = pages.int()
    coarse = case.get("coarse", False)

    def numbers(*shape: int) -> torch.Tensor:
        if coarse:
            # Mostly 0, so that sums have few values.
            return torch.randint(-9, 10, shape, generator=generator).div(9.0).trunc()
        return torch.randn(shape, generator=generator)

    values = numbers(num_pages, page_size, dim).to(torch.float8_e4m3fn)
    scales = torch.ones(num_pages, page_size)
    if not coarse:
        scales = 2.0 ** (2 * torch.rand(num_pages, page_size, generator=generator) - 1)
    used = torch.zeros(num_pages, page_size, dtype=torch.bool)
    for length, pages in zip(keys, tables, strict=True):
        token = torch.arange(length)
        used[pages[token // page_size], token % page_size] = True
    values.view(torch.uint8)[~used] = 0x7F  # not a number
    scales[~used] = math.nan
    weights = torch.randn(len(keys), heads, generator=generator)
    return {
        "q_index_fp8": numbers(len(keys), heads, dim).to(torch.float8_e4m3fn),
        "k_index_cache_fp8": _packed(values, scales),
        "weights": weights.sign() if coarse else weights,
        "seq_lens": torch.tensor(keys, dtype=torch.int32),
        "block_table": table,
    }


def _packed(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Bytes [num_pages, page_size, 1, dim + 4]: of a page all keys, then all scales."""
    num_pages, page_size, dim = values.shape
    parts = (
        values.contiguous().view(torch.int8).reshape(num_pages, page_size * dim),
        scales.contiguous().view(torch.int8).reshape(num_pages, page_size * 4),
    )
    return torch.cat(parts, 1).view(num_pages, page_size, 1, dim + 4)


def _unpacked(cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys [num_pages * page_size, dim] and scales [num_pages * page_size], in float64."""
    num_pages, page_size, _, size = cache.shape
    values = cache.reshape(num_pages, -1)[:, : page_size * (size - 4)].contiguous()
    scales = cache.reshape(num_pages, -1)[:, page_size * (size - 4) :].contiguous()
    return (
        values.view(torch.float8_e4m3fn).reshape(-1, size - 4).double(),
        scales.view(torch.float32).flatten().double(),
    )


def _tokens(inputs: Inputs, row: int) -> torch.Tensor:
    """Where the keys of a row's sequence are: page number * page_size + place in the page."""
    page_size = inputs["k_index_cache_fp8"].shape[1]
    token = torch.arange(int(inputs["seq_lens"][row]), device=inputs["block_table"].device)
    page = inputs["block_table"][row].long()[token // page_size]
    places: torch.Tensor = page * page_size + token % page_size
    return places


def _scores(
    inputs: Inputs, row: int, keys: torch.Tensor, scales: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of some keys [n, dim], with the sums of what adds up to them, in float64.

    Returns the scores, sums of |weight| * relu(q . k), and sums of |weight| * |q| . |k|, all times
    the scale.
    """
    q, weights = inputs["q_index_fp8"][row].double(), inputs["weights"][row].double()
    products = (keys @ q.T).clamp(min=0.0)
    magnitudes = keys.abs() @ (q.abs().T @ weights.abs())
    scores = (products @ weights) * scales
    return scores, (products @ weights.abs()) * scales, magnitudes * scales


def _no_choice(chosen: torch.Tensor, tokens: torch.Tensor) -> str:
    """Why a list [topk] cannot be a choice among the keys at some places; "" where it can be."""
    own, count = chosen[chosen >= 0].long(), min(len(chosen), len(tokens))
    if len(own) != count:
        return f"{len(own)} keys are chosen, not {count}"
    if not bool((chosen[count:] == -1).all()):
        return "behind the keys that are chosen stands not -1"
    if int(torch.isin(tokens, own).sum()) != count:
        return "keys of others, or a key twice"
    return ""


def _assert_chosen(inputs: Inputs, chosen: torch.Tensor, who: str, *, exact: bool) -> None:
    """As many different keys of each sequence as there may be, none worse than one left out."""
    topk, rows = chosen.shape[1], chosen.shape[0]
    values, all_scales = _unpacked(inputs["k_index_cache_fp8"])
    assert rows == len(inputs["seq_lens"])
    for row in range(rows):
        tokens = _tokens(inputs, row)
        where, wrong = f"{who}, query {row}", _no_choice(chosen[row], tokens)
        assert not wrong, f"{where}: {wrong}"
        count = min(topk, len(tokens))
        if count in (0, len(tokens)):
            continue
        taken = torch.isin(tokens, chosen[row].long())
        scores, sums, magnitudes = _scores(inputs, row, values[tokens], all_scales[tokens])
        slack = 2.0**-18 * magnitudes if exact else 2.0**-8 * sums + 2.0**-10 * magnitudes
        worst = (scores + slack)[taken].min()
        best = (scores - slack)[~taken].max()
        assert worst >= best, f"{where}: a key with a score of {best} is left out for {worst}"


def figures(
    definition: Definition, name: str, value: torch.Tensor, inputs: Inputs
) -> torch.Tensor | None:
    """Scores of the chosen keys [batch_size, topk] from the largest on, in float64.

    They are over the largest magnitude of a query's scores, so that all queries count alike; places
    without a key have 0. Of a list that is no choice all scores are NaN. Of equal scores either
    key may be chosen: that is seen in no score. None for other outputs.
    """
    del definition
    if name != "topk_indices":
        return None
    values, all_scales = _unpacked(inputs["k_index_cache_fp8"])
    found = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
    for row, chosen in enumerate(value):
        tokens = _tokens(inputs, row)
        if _no_choice(chosen, tokens):
            found[row] = math.nan
            continue
        scores, _, _ = _scores(inputs, row, values[tokens], all_scales[tokens])
        own = scores[torch.isin(tokens, chosen.long())].sort(descending=True).values
        found[row, : len(own)] = own / scores.abs().max() if len(own) else own
    return found


def best_keys_are_chosen(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """All that is chosen has scores, in float64, at least as large as what is not."""
    if not _chooses(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    chosen = run(*inputs.values())
    assert chosen.shape == (len(inputs["seq_lens"]), _size(definition, "topk"))
    assert chosen.dtype == torch.int32
    _assert_chosen(inputs, chosen, "the reference", exact=True)
    for name, value in inputs.items():
        same = torch.equal(value.view(torch.uint8), before[name].view(torch.uint8))
        assert same, f"run changes its input {name}"


def one_head_decides(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """With one weight that is not 0, the keys along that head's query are chosen, the larger first.

    The query is a unit vector, so a score is the element of the key, or 0 if that is negative.
    """
    if not _chooses(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    heads, dim = inputs["q_index_fp8"].shape[1:]
    head = int(torch.randint(heads, (1,), generator=generator))
    element = int(torch.randint(dim, (1,), generator=generator))
    query = torch.zeros_like(inputs["q_index_fp8"], dtype=torch.float32)
    query[:, head - 1] = 3.0
    query[:, head] = 0.0
    query[:, head, element] = 1.0
    inputs["q_index_fp8"] = query.to(torch.float8_e4m3fn)
    inputs["weights"] = torch.zeros_like(inputs["weights"])
    for sign in (1.0, -1.0):
        inputs["weights"][:, head] = sign
        chosen = run(*inputs.values())
        values, scales = _unpacked(inputs["k_index_cache_fp8"])
        for row in range(len(chosen)):
            tokens = _tokens(inputs, row)
            scores = sign * values[tokens, element].clamp(min=0.0) * scales[tokens]
            own = torch.isin(tokens, chosen[row].long())
            expected = scores.sort(descending=True).values[: chosen.shape[1]]
            found = scores[own].sort(descending=True).values
            assert len(found) == len(expected), "keys of others, or a key twice"
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


# --- both -----------------------------------------------------------------------------------------


def place_of_pages_does_not_matter(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Moving pages about in the cache, and what names them, changes no more than the names."""
    inputs = make_inputs(definition, case, device, generator)
    caches = [name for name in inputs if "cache" in name]
    page_size = inputs[caches[0]].shape[1]
    order = torch.randperm(inputs[caches[0]].shape[0], generator=generator).to(device)
    place = torch.argsort(order)
    moved = dict(inputs)
    for name in caches:
        moved[name] = inputs[name][order]

    def renamed(indices: torch.Tensor) -> torch.Tensor:
        there = indices.clamp(min=0).long()
        there = place[there // page_size] * page_size + there % page_size
        return torch.where(indices < 0, indices, there.int())

    if _chooses(definition):
        table = inputs["block_table"]
        known = table != NO_PAGE
        moved["block_table"] = table.clone()
        moved["block_table"][known] = place[table[known].long()].int()
        first, second = renamed(run(*inputs.values())), run(*moved.values())
        # Of equal scores, others may be chosen.
        _assert_chosen(moved, first, "the reference", exact=True)
        _assert_chosen(moved, second, "the reference, with other pages", exact=True)
        return
    moved["sparse_indices"] = renamed(inputs["sparse_indices"])
    for one, other in zip(_attention_run(run, inputs), _attention_run(run, moved), strict=True):
        assert torch.equal(one, other)


def queries_do_not_mix(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The last query alone gives what it gives in the batch."""
    inputs = make_inputs(definition, case, device, generator)
    rows = len(_lengths(case, device))
    alone = {
        name: value[rows - 1 :]
        if isinstance(value, torch.Tensor) and "cache" not in name
        else value
        for name, value in inputs.items()
    }
    if _chooses(definition):
        _assert_chosen(alone, run(*inputs.values())[rows - 1 :], "the reference", exact=True)
        _assert_chosen(alone, run(*alone.values()), "the reference, alone", exact=True)
        return
    output, lse = _attention_run(run, inputs)
    again, lse_again = _attention_run(run, alone)
    _close(output[rows - 1 :], again, 2**-7, 1e-4)
    _close(lse[rows - 1 :], lse_again, 1e-5, 1e-4)


PROPERTIES = [
    equals_dense_float64,
    keys_have_no_order,
    scale_multiplies_the_logits,
    best_keys_are_chosen,
    one_head_decides,
    place_of_pages_does_not_matter,
    queries_do_not_mix,
    no_queries_give_no_rows,
]
