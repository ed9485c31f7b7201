"""Sizes, inputs, comparison and properties for the reference tests.

What is drawn at random is tested by what many draws have in common. A test of n draws of a token
(or of a group of tokens) with probability p rejects where it was drawn x times and
n KL(x / n || p) > log(2 m / ALPHA), m being the number of counts in the test and KL the relative
entropy of two coins. By Chernoff's bound a right sampler has such a count with a chance of at most
ALPHA / m, on both sides together, for every n and p: so a test fails a right sampler in at most one
of 1 / ALPHA runs. A token that is not kept has p = 0, and is rejected whenever it is drawn.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]

# How often one test rejects a right sampler, at most.
ALPHA = 1e-6
# Rows in which the draws of a test are counted, and elements of probabilities that are made for
# them: a row of 128256 tokens has 0.5 MB, and sorting in float64 takes twenty times the elements'
# bytes. With fewer draws a test sees less, and errs no more.
DRAWS = 16_384
ELEMENTS = {"cpu": 2**23, "cuda": 2**27}
# Calls whose draws are counted together.
CALLS = 4
# Tokens of a row that stand out, and the probability that they have together.
HEAD, HEAD_SUM = 12, 0.7
# Into so many groups tokens go where they are too many to be counted one by one.
GROUPS = 16

# What is asked of the rows, in turns. A number of top_p or min_p is that of tokens that are kept,
# where there are no others before: so the boundary is in the middle between two tokens.
TOP_K = (3, 1, 8, 5, 2**30, 12, 2, 9)
TOP_P_TOKENS = (2, 5, 1, 8, None, 3, 6, 4)
MIN_P_TOKENS = (4, 1, 8, None, 2, 12, 6, 3)
TEMPERATURE = (1.0, 0.3, 2.0, 0.05, 0.7, 1.5, 10.0, 0.6)
TURNS = 8


def cases(definition: Definition) -> list[Case]:
    """One row, a few rows with other parameters each, and many rows in which draws are counted."""
    return [
        {"id": "batch1", "batch_size": 1},
        {"id": "batch7", "batch_size": 7},
        {"id": "many_rows", "batch_size": 0},  # as many as DRAWS and ELEMENTS allow
    ]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Rows in turns of TURNS different ones, each with parameters of its own.

    Returns probs or logits, and the parameters, in the definition's order.
    """
    values = _turns(definition, generator)
    most = min(DRAWS, ELEMENTS.get(device.type, ELEMENTS["cpu"]) // _vocab_size(definition))
    size = case["batch_size"] or TURNS * max(1, most // TURNS)
    turns = torch.arange(size) % TURNS
    return {name: values[name].to(device)[turns.to(device)] for name in definition["inputs"]}


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
    inputs: Inputs,
) -> None:
    """Hold what was drawn by both against the probabilities; other outputs are compared."""
    if _draws(definition):
        _assert_drawn(definition, inputs, {"the reference": actual, "the ground truth": expected})
    else:
        check(actual, expected)


# --- what the rows are ----------------------------------------------------------------------------


def _vocab_size(definition: Definition) -> int:
    return int(definition["axes"]["vocab_size"]["value"])


def _draws(definition: Definition) -> bool:
    (output,) = definition["outputs"].values()
    return str(output["dtype"]).startswith("int")


def _is_joint(definition: Definition) -> bool:
    """Whether top-p sees what top-k leaves out: our reference then has one order of all tokens."""
    text = definition["reference"]
    return "least = least.maximum(" in text and "ordered = ordered.where(" not in text


def _turns(definition: Definition, generator: torch.Generator) -> Inputs:
    """TURNS different rows with their parameters, by the name of the input."""
    inputs = set(definition["inputs"])
    if inputs == {"logits", "temperature"}:
        logits = 4.0 * torch.randn(TURNS, _vocab_size(definition), generator=generator)
        return {"logits": logits, "temperature": torch.tensor(TEMPERATURE)}
    if "probs" not in inputs or not inputs <= {"probs", "top_k", "top_p", "min_p"}:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    probs = _rows(_vocab_size(definition), generator)
    ordered = probs.double().sort(dim=-1, descending=True).values
    values = {"probs": probs, "top_k": torch.tensor(TOP_K, dtype=torch.int32)}
    seen = [
        row[:k] if "top_k" in inputs and not _is_joint(definition) else row
        for row, k in zip(ordered, TOP_K, strict=True)
    ]
    middles = []
    for row, count in zip(seen, TOP_P_TOKENS, strict=True):
        if count is None and not _draws(definition):
            # FlashInfer's renormalisation finds its threshold by halving. Asked to keep all, it
            # leaves out tokens with up to 1 % of the probability, which draws do not show: there
            # only `limits_of_parameters` asks for all.
            count = HEAD - 2
        n = len(row) if count is None else min(count, len(row))
        middle = float((row[: n - 1].sum() + row[n - 1] / 2) / row.sum())
        middles.append(1.0 if count is None else middle)
    values["top_p"] = torch.tensor(middles)
    values["min_p"] = torch.tensor(
        [
            0.0 if n is None else float((row[n - 1] + row[n]) / (2 * row[0]))
            for row, n in zip(ordered, MIN_P_TOKENS, strict=True)
        ]
    )
    return values


def _rows(vocab_size: int, generator: torch.Generator) -> torch.Tensor:
    """TURNS rows of probabilities: a few tokens anywhere stand out, the others are far less."""
    head = min(HEAD, vocab_size // 4)
    falling = 0.8 ** torch.arange(head, dtype=torch.float64)
    weights = 0.5 + 0.8 * torch.rand(TURNS, vocab_size, generator=generator, dtype=torch.float64)
    weights[:, :head] = falling * (1.0 + 0.05 * weights[:, :head])
    weights[:, :head] *= HEAD_SUM / weights[:, :head].sum(dim=-1, keepdim=True)
    weights[:, head:] *= (1.0 - HEAD_SUM) / weights[:, head:].sum(dim=-1, keepdim=True)
    places = torch.rand(TURNS, vocab_size, generator=generator).argsort(dim=-1)
    return weights.gather(-1, places).float()


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """The probabilities [batch_size, vocab_size] after all filters, in float64.

    By rank: a token's place in its row decides, and what is before it.
    """
    weights, tokens = inputs["probs"].double().sort(dim=-1, descending=True, stable=True)
    kept = torch.ones_like(weights, dtype=torch.bool)
    if "top_k" in inputs:
        k = inputs["top_k"][:, None]
        kept &= (torch.arange(weights.shape[-1], device=k.device) < k) | (k <= 0)
    if "top_p" in inputs:
        seen = weights if _is_joint(definition) else weights * kept
        before = seen.cumsum(dim=-1) - seen
        p = inputs["top_p"].double()[:, None]
        kept &= (before < p * seen.sum(dim=-1, keepdim=True)) | (p >= 1.0)
    if "min_p" in inputs:
        kept &= weights >= weights[:, :1] * inputs["min_p"].double()[:, None]
    kept[:, 0] = True
    weights = weights * kept
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return torch.zeros_like(weights).scatter(-1, tokens, weights)


# --- tests of draws -------------------------------------------------------------------------------


def _assert_drawn(
    definition: Definition, inputs: Inputs, drawn: dict[str, torch.Tensor], turns: int = TURNS
) -> None:
    """Every token can be drawn in its row, and is as often as it should be.

    Args:
        definition: The definition.
        inputs: The inputs of a call; row i is that of row i % turns.
        drawn: Who drew, and what: one token a row, of one or several calls one after the other.
        turns: After how many rows they repeat.
    """
    rows = len(inputs["probs"])
    first = {name: value[:turns] for name, value in inputs.items()}
    expected = _expected(definition, first).cpu()
    counts: list[tuple[str, int, int, float]] = []
    for who, samples in drawn.items():
        calls = samples.detach().long().cpu().reshape(-1, rows)
        for turn, chances in enumerate(expected):
            tokens = calls[:, turn::turns].reshape(-1)
            about = f"{who}, row {turn}"
            _assert_possible(about, tokens, chances)
            counts += [(f"{about}: {c[0]}", *c[1:]) for c in _counts(tokens, chances)]
    limit = math.log(2 * len(counts) / ALPHA)
    for what, found, draws, chance in counts:
        surprise = draws * _relative_entropy(found / draws, chance)
        assert surprise <= limit, (
            f"{what}: {found} of {draws} draws, expected {draws * chance:.1f}; "
            f"its log-likelihood ratio is {surprise:.1f}, more than {limit:.1f}"
        )


def _assert_possible(about: str, tokens: torch.Tensor, chances: torch.Tensor) -> None:
    """No token is drawn that does not exist or is left out."""
    assert bool(((tokens >= 0) & (tokens < len(chances))).all()), f"{about}: there is no such token"
    wrong = tokens[chances[tokens] == 0]
    assert not len(wrong), f"{about}: token {int(wrong[0])} is drawn, which is left out"


def _counts(tokens: torch.Tensor, chances: torch.Tensor) -> Iterator[tuple[str, int, int, float]]:
    """What is counted in the draws of a row: a name, how often it came, of how many, its chance."""
    draws = len(tokens)
    if not draws:
        return
    for what, groups in _groupings(chances):
        sums = torch.zeros(int(groups.max()) + 1, dtype=torch.float64)
        sums.index_add_(0, groups, chances)
        found = torch.bincount(groups[tokens], minlength=len(sums))
        for group, (count, chance) in enumerate(zip(found.tolist(), sums.tolist(), strict=True)):
            if chance:
                yield f"{what} {group}", count, draws, min(1.0, chance)
    # Draws of different rows and calls have nothing to do with each other.
    pairs = tokens[: draws // 2 * 2].reshape(-1, 2)
    if len(pairs):
        same = int((pairs[:, 0] == pairs[:, 1]).sum())
        yield "two draws are the same", same, len(pairs), min(1.0, float(chances.square().sum()))


def _groupings(chances: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Groups of tokens [vocab_size] in several ways: alone, or by probability and by place."""
    order = chances.argsort(descending=True)
    ranks = torch.empty_like(order).scatter(0, order, torch.arange(len(order)))
    if int((chances > 0).sum()) <= 2 * GROUPS:
        yield "token of rank", ranks
        return
    before = chances[order].cumsum(0) - chances[order]
    by_chance = torch.empty_like(order).scatter(0, order, (before * GROUPS).long().clamp(0, GROUPS))
    yield "tokens by probability, group", torch.where(ranks < GROUPS, ranks, GROUPS + by_chance)
    places = torch.arange(len(chances))
    yield "tokens by place, group", places * GROUPS // len(chances)
    yield "tokens by remainder", places % GROUPS


def _relative_entropy(found: float, chance: float) -> float:
    """KL of two coins: infinite where what cannot be was found."""
    total = 0.0
    for part, whole in ((found, chance), (1.0 - found, 1.0 - chance)):
        if part > 0.0:
            total += part * math.log(part / whole) if whole > 0.0 else math.inf
    return total


# --- properties -----------------------------------------------------------------------------------


def rows_are_what_they_should_be(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Many draws have the probabilities of their rows; other outputs agree with float64."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    calls = CALLS if case["batch_size"] == 0 else 3 * CALLS
    _assert_right(run, definition, inputs, calls, turns=min(TURNS, len(before[next(iter(before))])))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def _assert_right(run: Run, definition: Definition, inputs: Inputs, calls: int, turns: int) -> None:
    rows = len(next(iter(inputs.values())))
    (output,) = definition["outputs"].values()
    results = [run(*inputs.values()) for _ in range(calls if _draws(definition) else 1)]
    for result in results:
        assert result.dtype == getattr(torch, output["dtype"])
        assert result.shape == (rows,) if _draws(definition) else (rows, _vocab_size(definition))
    if _draws(definition):
        _assert_drawn(definition, inputs, {"run": torch.cat(results)}, turns)
        return
    rtol = 2e-5
    if "logits" in inputs:
        # torch's softmax of a row adds up float32 numbers in as few as eight running sums, whose
        # rounding grows with the row: 3e-5 for 128256 tokens on a CPU without AVX-512.
        rtol = max(rtol, 2.0**-24 * _vocab_size(definition) / 64)
    _assert_close(results[0], _exactly(definition, inputs), rtol)


def _exactly(definition: Definition, inputs: Inputs) -> torch.Tensor:
    if "logits" not in inputs:
        return _expected(definition, inputs)
    scaled = inputs["logits"].double() / inputs["temperature"].double()[:, None]
    powers = (scaled - scaled.amax(dim=-1, keepdim=True)).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def _assert_close(actual: torch.Tensor, expected: torch.Tensor, rtol: float) -> None:
    # Sums of float32 numbers, and an exponential: a few units in the last place of each.
    torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=1e-9)
    zero = expected == 0
    assert not bool(actual[zero].any()), "a token that is left out has a probability"


def limits_of_parameters(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """What keeps all tokens, and what keeps the most probable one alone."""
    if case["batch_size"] != 7:
        return
    vocab_size = _vocab_size(definition)
    values = _turns(definition, generator)
    asked = {
        "top_k": torch.tensor((0, -1, vocab_size, vocab_size + 1, vocab_size - 1, 1, 2, 3)).int(),
        "top_p": torch.tensor((1.0, 0.0, 1.0, 1e-9, 1.0, 1.0, 0.0, 2.0)),
        "min_p": torch.tensor((0.0, 1.0, 2.0, 1e-9, 0.0, 1.0, 0.5, 0.0)),
        "temperature": torch.tensor((1e-4, 1e4, 1.0, 1.0, 0.01, 3.0, 1.0, 2.0)),
    }
    if "logits" in values:
        values["logits"][2, ::2] = -math.inf  # tokens that a grammar forbids
        values["logits"][3] *= 1e4
        values["logits"][4] = 7.0
    else:
        values["probs"][6] = _halves(vocab_size)
    copies = max(1, min(256, ELEMENTS["cpu"] // 16 // vocab_size))
    values |= asked
    rows = (torch.arange(TURNS * copies) % TURNS).to(device)
    inputs = {name: values[name].to(device)[rows] for name in definition["inputs"]}
    _assert_right(run, definition, inputs, CALLS, TURNS)


def _halves(vocab_size: int) -> torch.Tensor:
    """1/2, 1/4, 1/8, 1/16 of 16 tokens, the rest evenly among 16: exact in float32."""
    row = torch.zeros(vocab_size)
    row[1:5] = torch.tensor((0.5, 0.25, 0.125, 0.0625))
    row[8:16] = 0.0625 / 8
    return row


def boundaries_and_ties(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Of equally probable tokens at a boundary all or some are kept, and nothing below them.

    Implementations differ there: FlashInfer keeps all of them, others cut in the order of sorting;
    and where tokens have top_p exactly, some keep the next one.
    """
    if case["batch_size"] != 7 or "probs" not in definition["inputs"]:
        return
    vocab_size = _vocab_size(definition)
    row = torch.zeros(vocab_size)
    row[[3, 7]] = torch.tensor((0.25, 0.1875))  # exact in float32, like all that follow
    tied = [1, 4, 9, 11]
    row[tied] = 0.125
    row[[5, 13]] = 0.03125
    asked = {"top_k": 4, "top_p": 0.6, "min_p": 0.5}
    copies = max(16, min(2048, ELEMENTS["cpu"] // 2 // vocab_size))
    values = {"probs": row.expand(copies, -1).contiguous()}
    for name, dtype in (("top_k", torch.int32), ("top_p", torch.float32), ("min_p", torch.float32)):
        values[name] = torch.full((copies,), asked[name], dtype=dtype)
    inputs = {name: values[name].to(device) for name in definition["inputs"]}
    if len(inputs) == 1:
        return
    kept = torch.zeros(vocab_size, dtype=torch.bool)
    kept[[3, 7, *tied]] = True
    result = run(*inputs.values()).cpu()
    if not _draws(definition):
        assert not bool(result[:, ~kept].any()), "a token below the boundary is kept"
        assert bool(result[:, [3, 7]].all()), "a token above the boundary is left out"
        torch.testing.assert_close(result.sum(dim=-1), torch.ones(copies))
        return
    tokens = result.long()
    assert bool(kept[tokens].all()), "a token below the boundary is drawn"
    # Between all four that are tied (0.9375 in all) and none of them.
    for token in (3, 7):
        low, high = float(row[token]) / 0.9375, float(row[token]) / 0.4375
        found = int((tokens == token).sum()) / copies
        nearest = min(max(found, low), high)
        surprise = copies * _relative_entropy(found, nearest)
        assert surprise <= math.log(4 / ALPHA), f"token {token} is drawn in {found:.3f} of the rows"


def no_rows_and_new_draws(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """No rows give no rows; rows and calls draw numbers of their own."""
    if case["batch_size"] != 7:
        return
    inputs = make_inputs(definition, case, device, generator)
    none = run(*(value[:0] for value in inputs.values()))
    assert none.shape == ((0,) if _draws(definition) else (0, _vocab_size(definition)))
    if not _draws(definition) or "probs" not in inputs:
        return
    # 64 rows of 16 or more tokens of which all are kept: the same again with a chance of 16^-64.
    vocab_size = _vocab_size(definition)
    row = torch.full((64, vocab_size), 1.0 / vocab_size)
    everything = {"top_k": vocab_size, "top_p": 1.0, "min_p": 0.0}
    wide = {
        name: (row if name == "probs" else torch.full((64,), everything[name]).to(value.dtype))
        for name, value in inputs.items()
    }
    one, other = (run(*(value.to(device) for value in wide.values())) for _ in range(2))
    assert not torch.equal(one, other), "two calls draw the same tokens"
    pairs = torch.stack([one, other]).reshape(-1, 2)
    same = int((pairs[:, 0] == pairs[:, 1]).sum())
    surprise = len(pairs) * _relative_entropy(same / len(pairs), 1.0 / vocab_size)
    assert surprise <= math.log(2 / ALPHA), f"{same} of {len(pairs)} neighbours draw the same token"


PROPERTIES = [
    rows_are_what_they_should_be,
    limits_of_parameters,
    boundaries_and_ties,
    no_rows_and_new_draws,
]
