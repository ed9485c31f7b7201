# ruff: noqa: RUF100 - a line below excuses itself in emitted files, and this one is exempt
"""Sizes, inputs and properties of latent attention: a section for each op type.

`assembling.py` makes the test template of an op type of the common part and of its section, whose
docstring comes first, and takes `_of_{op type}` off its names.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

# FlashInfer adds up the softmax weights after rounding them to bfloat16 (8 significant bits), which
# moves a base-2 logarithm of their sum by up to 2**-9 * log2(e) = 0.003. The properties below hold
# the reference's own lse to 1e-4.
TOLERANCES = {"lse": (1e-3, 5e-3)}


# --- mla_paged ---

"""Sizes, inputs and properties for mla_paged: decode and causal prefill, any page size."""


def cases_of_mla_paged(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Sequences as (queries, keys).

    "cuda" holds larger ones, for where there is a GPU; with "rising", later keys are larger, so
    that a softmax that is carried on from step to step meets a new maximum in the last one.
    """
    page = definition["axes"]["page_size"]["value"]
    if "qo_indptr" not in definition["inputs"]:
        return [
            {"id": "one_key", "sequences": [[1, 1]]},
            {"id": "no_keys", "sequences": [[1, 0], [1, 5], [1, 0], [1, 9], [1, 0]]},
            {"id": "only_empty_sequences", "sequences": [[1, 0], [1, 0]]},
            {
                "id": "last_page",
                "sequences": [[1, page], [1, page + 1], [1, 2 * page - 1], [1, page]],
            },
            {"id": "pages_in_order", "sequences": [[1, 33], [1, 70]], "shuffled": False},
            {
                "id": "long_and_short",
                "sequences": [[1, 1150], [1, 3], [1, 640]],
                "rising": True,
                "cuda": [[1, 33000], [1, 3], [1, 513], *[[1, 700 + 37 * i] for i in range(29)]],
            },
        ]
    return [
        {"id": "one_token", "sequences": [[1, 1]]},
        {"id": "no_keys", "sequences": [[2, 0], [3, 5], [0, 0], [1, 0], [0, 4], [2, 2]]},
        {"id": "only_empty_sequences", "sequences": [[2, 0], [0, 0]]},
        {"id": "no_prefix", "sequences": [[9, 9], [1, 1], [17, 17]]},
        {
            "id": "last_page",
            "sequences": [[min(2, page), page], [3, page + 3], [1, 2 * page - 1], [1, page]],
        },
        {"id": "pages_in_order", "sequences": [[5, 33], [6, 70]], "shuffled": False},
        {
            "id": "long_prefix",
            "sequences": [[2, 640], [1, 3]],
            "rising": True,
            "cuda": [[512, 1024], [130, 1300], [1, 2500], [3, 5]],
        },
        {"id": "many_queries", "sequences": [[67, 70], [3, 3]], "cuda": [[700, 700], [67, 70]]},
    ]


def make_inputs_of_mla_paged(
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Random inputs; pages that no sequence uses and the tails of last pages hold NaN.

    Eight-bit caches hold what such numbers are rounded to, and a scale.
    """
    heads, ckv, kpe, page_size = (
        definition["axes"][axis]["value"]
        for axis in ("num_qo_heads", "head_dim_ckv", "head_dim_kpe", "page_size")
    )
    sequences = case["sequences"]
    if torch.device(device).type == "cuda":
        sequences = case.get("cuda", sequences)
    q_lens = [queries for queries, _ in sequences]
    kv_lens = [keys for _, keys in sequences]
    pages = [-(-keys // page_size) for keys in kv_lens]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16)

    num_pages = sum(pages) + 3
    if case.get("shuffled", True):
        indices = torch.randperm(num_pages, generator=generator)[: sum(pages)]
    else:
        indices = torch.arange(sum(pages))
    ckv_cache = torch.full((num_pages, page_size, ckv), math.nan, dtype=torch.bfloat16)
    kpe_cache = torch.full((num_pages, page_size, kpe), math.nan, dtype=torch.bfloat16)
    first_page = 0
    for count, keys in zip(pages, kv_lens, strict=True):
        token = torch.arange(keys)
        page = indices[first_page + token // page_size]
        size = 0.5 + 1.5 * token[:, None] / keys if case.get("rising") else torch.ones(keys, 1)
        size = size.to(torch.bfloat16)
        ckv_cache[page, token % page_size] = normal(keys, ckv) * size
        kpe_cache[page, token % page_size] = normal(keys, kpe) * size
        first_page += count

    total_q = sum(q_lens)
    inputs: dict[str, Any] = {
        "q_nope": normal(total_q, heads, ckv),
        "q_pe": normal(total_q, heads, kpe),
        "ckv_cache": ckv_cache.to(getattr(torch, definition["inputs"]["ckv_cache"]["dtype"])),
        "kpe_cache": kpe_cache.to(getattr(torch, definition["inputs"]["kpe_cache"]["dtype"])),
        "qo_indptr": _mla_paged_offsets(q_lens),
        "kv_indptr": _mla_paged_offsets(pages),
        "kv_indices": indices.int(),
        "kv_last_page_len": torch.tensor(
            [keys - (count - 1) * page_size for count, keys in zip(pages, kv_lens, strict=True)],
            dtype=torch.int32,
        ).clamp(min=0, max=page_size)
        * (torch.tensor(kv_lens) > 0).int(),
        # As if each head had 128 dimensions beside the rotary ones before absorption; that is
        # not the size of the latent space.
        "sm_scale": 1 / math.sqrt(128 + kpe),
        "kv_scale": 0.7,
    }
    return {
        name: inputs[name].to(device) if isinstance(inputs[name], torch.Tensor) else inputs[name]
        for name in definition["inputs"]
    }


def _mla_paged_offsets(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


def _mla_paged_sequences(inputs: dict[str, Any]) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Rows of the queries, page and slot of every key, for each sequence."""
    page_size = inputs["ckv_cache"].shape[1]
    kv_indptr = inputs["kv_indptr"].tolist()
    batch = len(kv_indptr) - 1
    q_indptr = inputs["qo_indptr"].tolist() if "qo_indptr" in inputs else list(range(batch + 1))
    found = []
    for i in range(batch):
        count = kv_indptr[i + 1] - kv_indptr[i]
        keys = count * page_size
        if count and "kv_last_page_len" in inputs:
            keys += int(inputs["kv_last_page_len"][i]) - page_size
        token = torch.arange(keys, device=inputs["kv_indices"].device)
        page = inputs["kv_indices"][kv_indptr[i] + token // page_size].long()
        found.append((slice(q_indptr[i], q_indptr[i + 1]), page, token % page_size))
    return found


def _mla_paged_keys(
    inputs: dict[str, Any], page: torch.Tensor, slot: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent vectors and rope parts of some keys, in float64."""
    scale = float(inputs.get("kv_scale", 1.0))
    latent, rope = (inputs[name][page, slot].double() for name in ("ckv_cache", "kpe_cache"))
    return latent * scale, rope * scale


def _mla_paged_dense(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and lse in float64, one sequence at a time, from the definition of attention."""
    q = torch.cat((inputs["q_nope"], inputs["q_pe"]), -1).double()
    output = torch.zeros(inputs["q_nope"].shape, dtype=torch.float64, device=q.device)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float64, device=q.device)
    for rows, page, slot in _mla_paged_sequences(inputs):
        values, rope = _mla_paged_keys(inputs, page, slot)
        keys = torch.cat((values, rope), -1)
        logits = torch.einsum("qhd,kd->qhk", q[rows], keys) * float(inputs["sm_scale"])
        queries, count = logits.shape[0], logits.shape[2]
        later = torch.ones(queries, count, dtype=torch.bool, device=q.device)
        later = later.triu(count - queries + 1)
        logits = logits.masked_fill(later[:, None], -math.inf)
        lse[rows] = torch.logsumexp(logits, -1) / math.log(2)
        weights = torch.softmax(logits, -1).nan_to_num(0)
        output[rows] = torch.einsum("qhk,kd->qhd", weights, values)
    return output, lse


def _mla_paged_run(run: Callable[..., Any], inputs: dict[str, Any]) -> Any:
    output, lse = run(*inputs.values())
    assert output.shape == inputs["q_nope"].shape
    assert output.dtype == inputs["q_nope"].dtype
    assert lse.shape == inputs["q_nope"].shape[:2]
    assert lse.dtype == torch.float32
    return output, lse


def _mla_paged_close(
    actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float
) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol)


def equals_dense_float64_of_mla_paged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """The reference agrees with a dense computation in float64, up to rounding to bfloat16."""
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    output, lse = _mla_paged_run(run, inputs)
    expected_output, expected_lse = _mla_paged_dense(inputs)
    _mla_paged_close(output, expected_output, 2**-8, 1e-4)
    _mla_paged_close(lse, expected_lse, 1e-5, 1e-4)


def unused_memory_does_not_matter(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """NaN in unused memory gives what finite numbers there give, and no NaN."""
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    output, lse = _mla_paged_run(run, inputs)
    assert not output.isnan().any()
    assert not lse.isnan().any()
    for cache in ("ckv_cache", "kpe_cache"):
        there = inputs[cache]
        inputs[cache] = torch.nan_to_num(there.float(), nan=7.0).to(there.dtype)
    again, lse_again = _mla_paged_run(run, inputs)
    assert torch.equal(output, again)
    assert torch.equal(lse, lse_again)


def place_of_pages_does_not_matter(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """Moving pages about in the cache, and the indices with them, changes nothing."""
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    output, lse = _mla_paged_run(run, inputs)
    order = torch.randperm(inputs["ckv_cache"].shape[0], generator=generator).to(device)
    place = torch.argsort(order)
    moved = dict(inputs)
    moved["ckv_cache"] = inputs["ckv_cache"][order]
    moved["kpe_cache"] = inputs["kpe_cache"][order]
    moved["kv_indices"] = place[inputs["kv_indices"].long()].int()
    again, lse_again = _mla_paged_run(run, moved)
    assert torch.equal(output, again)
    assert torch.equal(lse, lse_again)


def sequences_do_not_mix_of_mla_paged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """The last sequence alone gives what it gives in the batch."""
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    output, lse = _mla_paged_run(run, inputs)
    rows, _, _ = _mla_paged_sequences(inputs)[-1]
    alone = dict(inputs)
    alone["q_nope"] = inputs["q_nope"][rows]
    alone["q_pe"] = inputs["q_pe"][rows]
    alone["kv_indices"] = inputs["kv_indices"][int(inputs["kv_indptr"][-2]) :]
    for name in ("qo_indptr", "kv_indptr"):
        if name in alone:
            alone[name] = alone[name][-2:] - alone[name][-2]
    if "kv_last_page_len" in alone:
        alone["kv_last_page_len"] = alone["kv_last_page_len"][-1:]
    again, lse_again = _mla_paged_run(run, alone)
    _mla_paged_close(output[rows], again, 2**-7, 1e-4)
    _mla_paged_close(lse[rows], lse_again, 1e-5, 1e-4)


def scale_multiplies_the_logits_of_mla_paged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """Twice the queries at half the scale are the same; a 0-d tensor serves as the scale."""
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    output, lse = _mla_paged_run(run, inputs)
    inputs["q_nope"] = inputs["q_nope"] * 2
    inputs["q_pe"] = inputs["q_pe"] * 2
    for name, factor in (("sm_scale", 0.5), ("kv_scale", 1.0)):
        if name in inputs:
            inputs[name] = torch.tensor(inputs[name] * factor, dtype=torch.float32)
    again, lse_again = _mla_paged_run(run, inputs)
    _mla_paged_close(output, again, 2**-7, 1e-4)
    _mla_paged_close(lse, lse_again, 1e-5, 1e-4)


def absorbed_equals_materialised(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """The absorbed form gives what attention over materialised keys and values gives.

    With W_UK[heads, nope, ckv] and W_UV[heads, vo, ckv], keys are (W_UK c, kpe) and values W_UV c;
    absorbed, the query is q W_UK and the output is multiplied by W_UV afterwards. Small integers
    keep the absorbed query exact in bfloat16.
    """
    inputs = make_inputs_of_mla_paged(definition, case, device, generator)
    total_q, heads, ckv = inputs["q_nope"].shape
    nope, vo = 8, 4

    def signs(*shape: int) -> torch.Tensor:
        return torch.randint(-1, 2, shape, generator=generator).to(device).double()

    q_nope, w_uk = signs(total_q, heads, nope), signs(heads, nope, ckv)
    w_uv = signs(heads, vo, ckv)
    inputs["q_nope"] = torch.einsum("qhn,hnc->qhc", q_nope, w_uk).to(torch.bfloat16)
    output, _ = _mla_paged_run(run, inputs)
    q = torch.cat((q_nope, inputs["q_pe"].double()), -1)
    for rows, page, slot in _mla_paged_sequences(inputs):
        if not len(page):
            continue
        latent, rope = _mla_paged_keys(inputs, page, slot)
        kpe = rope[:, None].expand(-1, heads, -1)
        keys = torch.cat((torch.einsum("hnc,kc->khn", w_uk, latent), kpe), -1)
        values = torch.einsum("hvc,kc->khv", w_uv, latent)
        queries = q[rows]
        logits = torch.einsum("qhd,khd->hqk", queries, keys) * float(inputs["sm_scale"])
        seen = torch.ones(logits.shape[1:], dtype=torch.bool, device=logits.device)
        seen = seen.tril(len(page) - len(queries))
        weights = torch.softmax(logits.masked_fill(~seen, -math.inf), -1).nan_to_num(0)
        expected = torch.einsum("hqk,khv->qhv", weights, values)
        actual = torch.einsum("qhc,hvc->qhv", output[rows].double(), w_uv)
        # Rounding the output to bfloat16 adds up over the latent dimensions like a random walk.
        _mla_paged_close(actual, expected, 0, 2**-8 * 4 * math.sqrt(ckv))


PROPERTIES_of_mla_paged = [
    equals_dense_float64_of_mla_paged,
    unused_memory_does_not_matter,
    place_of_pages_does_not_matter,
    sequences_do_not_mix_of_mla_paged,
    scale_multiplies_the_logits_of_mla_paged,
    absorbed_equals_materialised,
]


# --- mla_ragged ---

"""Sizes, inputs and properties for mla_ragged: causal prefill with materialised keys and values."""


def cases_of_mla_ragged(definition: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ARG001 - sizes fit any
    """Sequences as (queries, keys).

    "cuda" holds larger ones, for where there is a GPU; with "rising", later keys are larger, so
    that a softmax that is carried on from step to step meets a new maximum in the last one.
    """
    return [
        {"id": "one_token", "sequences": [[1, 1]]},
        {"id": "no_keys", "sequences": [[2, 0], [3, 5], [0, 0], [1, 0], [0, 4], [2, 2]]},
        {"id": "only_empty_sequences", "sequences": [[2, 0], [0, 0]]},
        {"id": "no_prefix", "sequences": [[9, 9], [1, 1], [17, 17]]},
        {
            "id": "long_prefix",
            "sequences": [[2, 640], [1, 3]],
            "rising": True,
            "cuda": [[512, 1024], [130, 1300], [1, 2500], [3, 5]],
        },
        {"id": "many_queries", "sequences": [[67, 70], [3, 3]], "cuda": [[700, 700], [67, 70]]},
    ]


def make_inputs_of_mla_ragged(
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Random inputs, the sequences packed one after the other."""
    qo_heads, kv_heads, qk, vo = (
        definition["axes"][axis]["value"]
        for axis in ("num_qo_heads", "num_kv_heads", "qk_dim", "vo_dim")
    )
    sequences = case["sequences"]
    if torch.device(device).type == "cuda":
        sequences = case.get("cuda", sequences)
    q_lens = torch.tensor([0, *(queries for queries, _ in sequences)])
    kv_lens = torch.tensor([0, *(keys for _, keys in sequences)])
    total_q, total_kv = int(q_lens.sum()), int(kv_lens.sum())

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16).to(device)

    k = normal(total_kv, kv_heads, qk)
    if case.get("rising"):
        ramps = [torch.linspace(0.5, 2, keys) for _, keys in sequences]
        k = k * torch.cat(ramps)[:, None, None].to(k)
    return {
        "q": normal(total_q, qo_heads, qk),
        "k": k,
        "v": normal(total_kv, kv_heads, vo),
        "qo_indptr": q_lens.cumsum(0).int().to(device),
        "kv_indptr": kv_lens.cumsum(0).int().to(device),
        # Not the customary 1 / sqrt(qk): models multiply it by the square of a YaRN factor.
        "sm_scale": 1.5 / math.sqrt(qk),
    }


def _mla_ragged_sequences(inputs: dict[str, Any]) -> list[tuple[slice, slice]]:
    """Rows of the queries and of the keys for each sequence."""
    q, kv = inputs["qo_indptr"].tolist(), inputs["kv_indptr"].tolist()
    return [(slice(q[i], q[i + 1]), slice(kv[i], kv[i + 1])) for i in range(len(q) - 1)]


def _mla_ragged_seen(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """Which key [keys] each query [queries] sees, the last query aligned with the last key."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def _mla_ragged_dense(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and lse in float64, one sequence at a time, from the definition of attention."""
    q, k, v = (inputs[name].double() for name in ("q", "k", "v"))
    output = torch.zeros((*q.shape[:2], v.shape[2]), dtype=torch.float64, device=q.device)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float64, device=q.device)
    for rows, keys in _mla_ragged_sequences(inputs):
        logits = torch.einsum("qhd,khd->qhk", q[rows], k[keys]) * float(inputs["sm_scale"])
        seen = _mla_ragged_seen(logits.shape[0], logits.shape[2], q.device)
        logits = logits.masked_fill(~seen[:, None], -math.inf)
        lse[rows] = torch.logsumexp(logits, -1) / math.log(2)
        weights = torch.softmax(logits, -1).nan_to_num(0)
        output[rows] = torch.einsum("qhk,khd->qhd", weights, v[keys])
    return output, lse


def _mla_ragged_run(run: Callable[..., Any], inputs: dict[str, Any]) -> Any:
    output, lse = run(*inputs.values())
    assert output.shape == (*inputs["q"].shape[:2], inputs["v"].shape[2])
    assert output.dtype == inputs["q"].dtype
    assert lse.shape == inputs["q"].shape[:2]
    assert lse.dtype == torch.float32
    return output, lse


def _mla_ragged_close(
    actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float
) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol)


def equals_dense_float64_of_mla_ragged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """The reference agrees with a dense computation in float64, up to rounding to bfloat16."""
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    output, lse = _mla_ragged_run(run, inputs)
    expected_output, expected_lse = _mla_ragged_dense(inputs)
    _mla_ragged_close(output, expected_output, 2**-8, 1e-4)
    _mla_ragged_close(lse, expected_lse, 1e-5, 1e-4)


def other_sequences_do_not_matter(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """NaN in the keys and values of the first sequence does not reach the others."""
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    output, lse = _mla_ragged_run(run, inputs)
    rows, keys = _mla_ragged_sequences(inputs)[0]
    inputs["k"][keys] = math.nan
    inputs["v"][keys] = math.nan
    again, lse_again = _mla_ragged_run(run, inputs)
    assert torch.equal(output[rows.stop :], again[rows.stop :])
    assert torch.equal(lse[rows.stop :], lse_again[rows.stop :])


def later_keys_do_not_matter(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """Another last key and value changes the last query of its sequence and no other."""
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    output, lse = _mla_ragged_run(run, inputs)
    changed = []
    for rows, keys in _mla_ragged_sequences(inputs):
        if rows.stop > rows.start and keys.stop > keys.start:
            inputs["k"][keys.stop - 1] = 0
            inputs["v"][keys.stop - 1] = 50
            changed.append(rows.stop - 1)
    again, lse_again = _mla_ragged_run(run, inputs)
    others = torch.ones(output.shape[0], dtype=torch.bool)
    others[changed] = False
    assert torch.equal(output[others], again[others])
    assert torch.equal(lse[others], lse_again[others])
    assert (output[changed] != again[changed]).any(-1).all()


def sequences_do_not_mix_of_mla_ragged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """The last sequence alone gives what it gives in the batch."""
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    output, lse = _mla_ragged_run(run, inputs)
    rows, keys = _mla_ragged_sequences(inputs)[-1]
    alone = {
        "q": inputs["q"][rows],
        "k": inputs["k"][keys],
        "v": inputs["v"][keys],
        "qo_indptr": inputs["qo_indptr"][-2:] - inputs["qo_indptr"][-2],
        "kv_indptr": inputs["kv_indptr"][-2:] - inputs["kv_indptr"][-2],
        "sm_scale": inputs["sm_scale"],
    }
    again, lse_again = _mla_ragged_run(run, alone)
    _mla_ragged_close(output[rows], again, 2**-7, 1e-4)
    _mla_ragged_close(lse[rows], lse_again, 1e-5, 1e-4)


def scale_multiplies_the_logits_of_mla_ragged(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """Twice the queries at half the scale are the same; a 0-d tensor serves as the scale."""
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    output, lse = _mla_ragged_run(run, inputs)
    inputs["q"] = inputs["q"] * 2
    inputs["sm_scale"] = torch.tensor(inputs["sm_scale"] / 2, dtype=torch.float32)
    again, lse_again = _mla_ragged_run(run, inputs)
    _mla_ragged_close(output, again, 2**-7, 1e-4)
    _mla_ragged_close(lse, lse_again, 1e-5, 1e-4)


def materialised_equals_absorbed(
    run: Callable[..., Any],
    definition: dict[str, Any],
    case: dict[str, Any],
    device: torch.device | str,
    generator: torch.Generator,
) -> None:
    """Keys and values made from latents give what attention over the latents gives.

    With W_UK[heads, nope, latent] and W_UV[heads, vo, latent], keys are (W_UK c, kpe) and values
    W_UV c; absorbed, (q W_UK, q_pe) meets (c, kpe), and W_UV is applied to the weighted latents.
    Small integers keep the keys and values exact in bfloat16.
    """
    inputs = make_inputs_of_mla_ragged(definition, case, device, generator)
    total_kv, heads, qk = inputs["k"].shape
    latent, rope = 16, qk // 3

    def signs(*shape: int) -> torch.Tensor:
        return torch.randint(-1, 2, shape, generator=generator).to(device).double()

    w_uk, w_uv = signs(heads, qk - rope, latent), signs(heads, inputs["v"].shape[2], latent)
    cache, kpe = signs(total_kv, latent), signs(total_kv, rope)
    k_nope = torch.einsum("hnc,kc->khn", w_uk, cache)
    inputs["k"] = torch.cat((k_nope, kpe[:, None].expand(-1, heads, -1)), -1).to(torch.bfloat16)
    inputs["v"] = torch.einsum("hvc,kc->khv", w_uv, cache).to(torch.bfloat16)
    inputs["sm_scale"] /= 4  # integers make larger logits than normal numbers
    output, _ = _mla_ragged_run(run, inputs)
    q_nope, q_pe = inputs["q"].double().split((qk - rope, rope), -1)
    absorbed = torch.cat((torch.einsum("qhn,hnc->qhc", q_nope, w_uk), q_pe), -1)
    for rows, keys in _mla_ragged_sequences(inputs):
        entries = torch.cat((cache[keys], kpe[keys]), -1)
        logits = torch.einsum("qhd,kd->qhk", absorbed[rows], entries) * inputs["sm_scale"]
        seen = _mla_ragged_seen(logits.shape[0], logits.shape[2], logits.device)
        logits = logits.masked_fill(~seen[:, None], -math.inf)
        weights = torch.softmax(logits, -1).nan_to_num(0)
        expected = torch.einsum("qhk,kc,hvc->qhv", weights, cache[keys], w_uv)
        _mla_ragged_close(output[rows], expected, 2**-8, 1e-3)


PROPERTIES_of_mla_ragged = [
    equals_dense_float64_of_mla_ragged,
    other_sequences_do_not_matter,
    later_keys_do_not_matter,
    sequences_do_not_mix_of_mla_ragged,
    scale_multiplies_the_logits_of_mla_ragged,
    materialised_equals_absorbed,
]
