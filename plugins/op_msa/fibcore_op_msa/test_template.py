"""Sizes, inputs and properties for the reference tests of block-sparse attention.

One file for attention and for the choice of blocks: which a definition is of shows in its inputs.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]
Device = torch.device

_KNOWN = {
    *("q", "k_cache", "v_cache", "block_indices", "seq_lens", "block_table", "sm_scale"),
}
NO_PAGE = 1 << 29
"""What stands in a page table behind a sequence's last page."""


def cases(definition: Definition) -> list[Case]:
    """Keys of each query's sequence: none, parts of a block, as many blocks as are chosen, more."""
    block, topk = _size(definition, "block_size"), _size(definition, "topk")
    return [
        {"id": "one_key", "keys": [1]},
        {"id": "around_a_block", "keys": [block - 1, block, block + 1, 0]},
        {"id": "around_topk", "keys": [topk * block, topk * block + 1, (topk + 3) * block - 2]},
        {"id": "many_queries", "keys": [(7 * n) % (block * (topk + 2)) for n in range(20)]},
        # So many blocks that the best of those left out is close to the worst that is chosen.
        {"id": "many_blocks", "keys": [block * (topk + 40) - n for n in range(24)]},
        {"id": "coarse", "keys": [block * (topk + 2), 5], "coarse": True},
    ]


def make_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Normal numbers; pages in no order, and NaN in places that are not used."""
    if not set(definition["inputs"]) <= _KNOWN:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    page, keys, rows = _size(definition, "page_size"), case["keys"], len(case["keys"])
    pages = [-(-count // page) for count in keys]
    total = sum(pages) + 3
    order, tables = torch.randperm(total, generator=generator), []
    for count in pages:
        tables.append(order[:count])
        order = order[count:]
    table = torch.full((rows, max(*pages, 1) + 1), NO_PAGE, dtype=torch.int32)
    used = torch.zeros(total, page, dtype=torch.bool)
    for row, (own, count) in enumerate(zip(tables, keys, strict=True)):
        table[row, : len(own)] = own.int()
        token = torch.arange(count)
        used[own[token // page], token % page] = True

    def numbers(*shape: int) -> torch.Tensor:
        value = torch.randn(shape, generator=generator)
        return (value.sign() if case.get("coarse") else value).bfloat16()

    made: Inputs = {"seq_lens": torch.tensor(keys, dtype=torch.int32), "block_table": table}
    for name in ("q", "k_cache", "v_cache"):
        if name in definition["inputs"]:
            axes = definition["inputs"][name]["shape"]
            shape = [total, page] if "cache" in name else [rows]
            shape += [_size(definition, axis) for axis in axes[len(shape) :]]
            made[name] = numbers(*shape)
            if "cache" in name:
                made[name][~used] = math.nan
    if "block_indices" in definition["inputs"]:
        made["block_indices"] = _blocks(definition, keys, generator)
        made["sm_scale"] = 0.75 * _size(definition, "head_dim") ** -0.5
    return {
        name: made[name].to(device) if isinstance(made[name], torch.Tensor) else made[name]
        for name in definition["inputs"]
    }


def _blocks(definition: Definition, keys: list[int], generator: torch.Generator) -> torch.Tensor:
    """Any blocks of each sequence in any order, by key head, with -1 in between."""
    block, topk = _size(definition, "block_size"), _size(definition, "topk")
    heads = _size(definition, "num_kv_heads")
    found = torch.full((len(keys), heads, topk), -1, dtype=torch.int32)
    for row, count in enumerate(keys):
        for head in range(heads):
            own = torch.randperm(-(-count // block), generator=generator)[: max(1, topk - 1)]
            found[row, head, topk - len(own) :] = own.int()
    return found


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _keys(inputs: Inputs, row: int, cache: str, head: int) -> torch.Tensor:
    """The keys or values of a row's sequence in float64."""
    page_size = inputs[cache].shape[1]
    token = torch.arange(int(inputs["seq_lens"][row]), device=inputs[cache].device)
    page = inputs["block_table"][row].long()[token // page_size]
    found: torch.Tensor = inputs[cache][page, token % page_size, head].double()
    return found


def _run(run: Run, inputs: Inputs) -> torch.Tensor:
    before = {n: v.clone() for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    output = run(*inputs.values())
    for name, value in before.items():
        same = torch.equal(inputs[name].view(torch.int8), value.view(torch.int8))
        assert same, f"run changes its input {name}"
    return output


def _close(actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol)


def attention_equals_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """A softmax over the keys of the chosen blocks, of those that the query may see."""
    if "block_indices" not in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    output = _run(run, inputs)
    assert output.shape == inputs["q"].shape
    assert output.dtype == inputs["q"].dtype
    block, heads = _size(definition, "block_size"), inputs["k_cache"].shape[2]
    group = inputs["q"].shape[1] // heads
    for row in range(len(output)):
        for head in range(inputs["q"].shape[1]):
            k, v = (_keys(inputs, row, name, head // group) for name in ("k_cache", "v_cache"))
            own = set(inputs["block_indices"][row, head // group].tolist())
            seen = [token for token in range(len(k)) if token // block in own]
            expected = torch.zeros(v.shape[1], dtype=torch.float64, device=v.device)
            if seen:
                logits = k[seen] @ inputs["q"][row, head].double() * float(inputs["sm_scale"])
                expected = torch.softmax(logits, 0) @ v[seen]
            _close(output[row, head], expected, 2**-8, 2e-4)


def large_logits_stay_numbers(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """A scale so large that one key takes all weight; a 0-d tensor serves as the scale."""
    if "block_indices" not in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    inputs["sm_scale"] = torch.tensor(1e4)
    assert bool(run(*inputs.values()).isfinite().all())


def best_blocks_are_chosen(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """All that is chosen has scores, in float64, at least as large as what is not."""
    if "block_indices" in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    chosen = _run(run, inputs)
    assert chosen.dtype == torch.int32
    _assert_chosen(definition, inputs, chosen, "the reference")


def _always(definition: Definition, count: int) -> set[int]:
    """Of so many blocks, those that are chosen whatever their scores."""
    lines = dict(line.partition(" = ")[::2] for line in definition["reference"].splitlines())
    init, local = (int(lines[name]) for name in ("INIT_BLOCKS", "LOCAL_BLOCKS"))
    return set(range(min(init, count))) | set(range(max(0, count - local), count))


def _no_choice(own: torch.Tensor, count: int, always: set[int]) -> str:
    """Why a list [topk] cannot be a choice among so many blocks; "" where it can be."""
    kept = min(len(own), count)
    if not bool((own[kept:] == -1).all()):
        return "behind the blocks stands not -1"
    taken = set(own[:kept].tolist())
    if len(taken) != kept:
        return "a block twice"
    if not taken <= set(range(count)):
        return "blocks that there are not"
    if len(always) <= kept and not always <= taken:
        return "a block that is always chosen is left out"
    return ""


def _assert_chosen(definition: Definition, inputs: Inputs, chosen: torch.Tensor, who: str) -> None:
    """As many different blocks as there may be, those that always are, and none worse."""
    block, topk = _size(definition, "block_size"), _size(definition, "topk")
    rows, heads = inputs["q"].shape[:2]
    assert chosen.shape == (rows, heads, topk), f"{who} gives {tuple(chosen.shape)}"
    for row in range(rows):
        keys = _keys(inputs, row, "k_cache", 0)
        count = -(-len(keys) // block)
        always = _always(definition, count)
        for head in range(heads):
            where, own = f"{who}, query {row}, head {head}", chosen[row, head]
            wrong = _no_choice(own, count, always)
            assert not wrong, f"{where}: {wrong}"
            taken = set(own[: min(topk, count)].tolist())
            scores = keys @ inputs["q"][row, head].double()
            slack = 2.0**-18 * (keys.abs() @ inputs["q"][row, head].double().abs())
            rest = set(range(count)) - taken - always
            ranked = taken - always
            if rest and ranked:
                spans = [slice(index * block, (index + 1) * block) for index in range(count)]
                worst = min(float((scores + slack)[spans[index]].max()) for index in ranked)
                best = max(float((scores - slack)[spans[index]].max()) for index in rest)
                assert worst >= best, f"{where}: a block with {best} is left out for {worst}"


def figures(
    definition: Definition, name: str, value: torch.Tensor, inputs: Inputs
) -> torch.Tensor | None:
    """Scores of the chosen blocks [num_tokens, heads, topk] from the largest on, in float64.

    Blocks that are always chosen, and places without a block, have 0. Of a list that is no choice
    all scores are NaN. Of equal scores either block may be chosen: that is seen in no score. None
    for other outputs.
    """
    if name != "block_indices":
        return None
    block = _size(definition, "block_size")
    found = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
    for row, lists in enumerate(value):
        keys = _keys(inputs, row, "k_cache", 0)
        count = -(-len(keys) // block)
        always = _always(definition, count)
        scores = inputs["q"][row].double() @ keys.T
        rest = count * block - len(keys)
        scores = torch.nn.functional.pad(scores, (0, rest), value=-math.inf)
        best = scores.view(len(lists), count, block).amax(-1)
        for head, own in enumerate(lists):
            if _no_choice(own, count, always):
                found[row, head] = math.nan
                continue
            ranked = sorted(set(own[: min(len(own), count)].tolist()) - always)
            found[row, head, : len(ranked)] = best[head, ranked].sort(descending=True).values
    return found


def queries_do_not_mix(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The last query alone gives what it gives in the batch; no queries give no rows."""
    inputs = make_inputs(definition, case, device, generator)
    together = run(*inputs.values())
    for rows in (slice(-1, None), slice(0, 0)):
        part = {
            name: value[rows] if isinstance(value, torch.Tensor) and "cache" not in name else value
            for name, value in inputs.items()
        }
        alone = run(*part.values())
        assert alone.shape[0] == len(part["q"])
        if "block_indices" in inputs:
            _close(alone, together[rows], 2**-7, 1e-4)
        else:
            _assert_chosen(definition, part, alone, "the reference, alone")


PROPERTIES = [
    attention_equals_float64,
    large_logits_stay_numbers,
    best_blocks_are_chosen,
    queries_do_not_mix,
]


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
    inputs: Inputs,
) -> None:
    """Hold what was chosen by both against the scores; other outputs are compared."""
    del case
    if name != "block_indices":
        check(actual, expected)
        return
    _assert_chosen(definition, inputs, actual, "the reference")
    _assert_chosen(definition, inputs, expected, "the ground truth")
