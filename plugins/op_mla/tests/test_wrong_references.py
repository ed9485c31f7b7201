"""Plausible mistakes: the properties of the test templates have to reject every one of them."""

from __future__ import annotations

from typing import Any

import pytest
from mla_kit import generator, load_run, load_template, small_definitions, template_of

from fibcore.testing.harness import harness
from fibcore.testing.templates import CRASHES
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    parameters,
)
from fibcore_op_mla import fibcore_ground_truths

torch = pytest.importorskip("torch")

DEFINITIONS = small_definitions()
DECODE = [name for name in DEFINITIONS if "decode" in name]
PREFILL = [name for name in DEFINITIONS if "paged_prefill" in name]
RAGGED = [name for name in DEFINITIONS if "ragged" in name]
PAGED = DECODE + PREFILL
LARGE_PAGES = [name for name in PAGED if name.endswith("ps4")]
ALL = PAGED + RAGGED

# Reading on where a sequence ends, as far as there is memory.
READ_ON = (
    "inside = torch.minimum(key, reach[:active] - 1)",
    "inside = torch.minimum(key, PAGE_SIZE * (len(kv_indices) - pages[:active]) - 1)",
)
# Hide what is hidden of all the keys, not of those alone that a query is known not to see.
EVERYWHERE = [("max(all_see - begin, 0)", "0")]
# Many steps of few keys: test sizes are done in one otherwise.
STEPS = [("KEY_CHUNK = 512", "KEY_CHUNK = 64"), ("1 << 25", "1 << 14")]
HIDDEN = "> last_key[:active, None, :, None]"
SCALE = ".mul_(sm_scale)"

# What is wrong, in which references, and what stands in the place of which text.
MISTAKES: list[tuple[str, list[str], list[tuple[str, str]]]] = [
    (
        "rope part left out of the logits",
        ALL,
        [
            (
                "product(q, k.transpose(1, 2))",
                "product(q[..., :-8], k[..., :-8].mT)",
            )
        ],
    ),
    ("scale missing", ALL, [(SCALE, "")]),
    ("scale from the size of a cached key", PAGED, [(SCALE, ".mul_(q.shape[2] ** -0.5)")]),
    ("scale from the size of a key", RAGGED, [(SCALE, ".mul_(q.shape[2] ** -0.5)")]),
    ("natural logarithm in the lse", ALL, [(" * math.log2(math.e)", "")]),
    (
        "logits taken for those of powers of 2",
        ALL,
        [("torch.softmax(logits, -1)", "torch.softmax(logits * math.log(2), -1)")],
    ),
    ("one key too many", ALL, [(HIDDEN, HIDDEN + " + 1"), *EVERYWHERE]),
    ("one key too few", ALL, [(HIDDEN, ">= last_key[:active, None, :, None]"), *EVERYWHERE]),
    (
        "first query aligned with the first key",
        PREFILL + RAGGED,
        [("last_key = reach - count + offset", "last_key = offset")],
    ),
    (
        "not causal",
        PREFILL + RAGGED,
        [(HIDDEN, "> (reach[:active] - 1 + 0 * last_key[:active])[:, None, :, None]")],
    ),
    (
        "nothing hidden",
        ALL,
        [("max(all_see - begin, 0)", "len(key)")],
    ),
    (
        "hidden from one key too late",
        ALL,
        [("min(r - n + 1 for", "min(r - n + 2 for")],
    ),
    (
        "values from the end of the key",
        PAGED,
        [("k, k[:, :, :ckv]", "k, k[:, :, -ckv:]")],
    ),
    (
        "length of the last page ignored",
        LARGE_PAGES,
        [("(pages - 1) * PAGE_SIZE + last if", "pages * PAGE_SIZE if")],
    ),
    ("unused memory weighed with 0", LARGE_PAGES, [READ_ON]),
    (
        "other sequences weighed with 0",
        RAGGED,
        [
            (
                "inside = torch.minimum(key, reach[:active] - 1)",
                "inside = torch.where(key < reach[:active], key, -keys[:active])",
            )
        ],
    ),
    (
        "NaN where a step is hidden",
        PREFILL + RAGGED,
        [("hidden, LOWEST)", "hidden, -math.inf)"), *STEPS],
    ),
    ("lse 0 without keys", ALL, [(".shape[:2], -math.inf", ".shape[:2], 0.0")]),
    (
        "output of queries without keys",
        PREFILL + RAGGED,
        [("range(max(begin, end - length), end, size)", "range(begin, end, size)")],
    ),
    (
        "page numbers left out",
        PAGED,
        [
            ("kv_indices[pages[:active]", "(pages[:active]"),
            ("// PAGE_SIZE].long()", "// PAGE_SIZE).long()"),
        ],
    ),
    (
        "tokens counted as pages",
        LARGE_PAGES,
        [("pages[:active] + inside // PAGE_SIZE", "pages[:active] + inside")],
    ),
    ("place in the page left out", LARGE_PAGES, [(" + inside % PAGE_SIZE", "")]),
    ("keys of another sequence", RAGGED, [("keys[:active] + inside", "start[:active] + inside")]),
    (
        "sum of weights not carried over",
        ALL,
        [("= torch.logaddexp(", "= torch.maximum("), *STEPS],
    ),
    ("values not carried over", ALL, [(".lerp_(means, share)", ".copy_(means)"), *STEPS]),
    ("steps weighed alike", ALL, [(".lerp_(means, share)", ".lerp_(means, 0.5)"), *STEPS]),
    (
        "heads and queries swapped",
        PREFILL,
        [
            (
                "mixed.view(*rows.shape, ckv)",
                "mixed.view(len(rows), tile, heads, ckv).transpose(1, 2)",
            )
        ],
    ),
    (
        "keys of one head for all",
        RAGGED,
        [("k_rows[slot]", "k_rows[slot // heads * heads]")],
    ),
    (
        "values of one head for all",
        RAGGED,
        [("v_rows[slot]", "v_rows[slot // heads * heads]")],
    ),
    (
        "last query of a tile left out",
        PREFILL + RAGGED,
        [
            (
                "torch.arange(tile, device=device), count - 1)",
                "torch.arange(tile, device=device), (count - 2).clamp(min=0))",
            )
        ],
    ),
    (
        "logits rounded to bfloat16",
        PAGED,
        [(SCALE, ".mul_(sm_scale).bfloat16().float()")],
    ),
]


def mistake(what: str, changes: list[tuple[str, str]]) -> Mistake:
    return Mistake(what, tuple(changes))


BY_KERNEL = {
    name: [mistake(what, changes) for what, names, changes in MISTAKES if name in names]
    for name in ALL
}


@pytest.mark.parametrize(("name", "mistake"), parameters(BY_KERNEL))
def test_properties_reject(name: str, mistake: Mistake) -> None:
    definition = DEFINITIONS[name]
    # Indexing errors reject a reference just as well as a wrong result does.
    assert_rejected(template_of(definition.op_type), definition, mistake, crashes=CRASHES)


@pytest.mark.parametrize("name", ALL)
def test_properties_accept_the_right_one(name: str) -> None:
    assert_accepted(template_of(DEFINITIONS[name].op_type), DEFINITIONS[name])


# What shows only in the lse, in memory that SGLang does not read, or below the tolerance.
NOT_FOR_SGLANG = ("natural", "lse", "weighed", "multiplied", "NaN", "division", "rounded")


@pytest.mark.parametrize("name", ALL)
def test_sglang_rejects_them_too(name: str, load_sglang: Any) -> None:
    definition = DEFINITIONS[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    truth = (fibcore_ground_truths(definition) or ())[-1]
    namespace: dict[str, Any] = {"__name__": "truth"}
    exec(truth.source, namespace)  # noqa: S102 - our own file
    pairs = []
    for case in template["cases"](data):
        inputs = template["make_inputs"](data, case, "cpu", generator())
        pairs.append((inputs, namespace[truth.entry](load_sglang, **inputs)[0]))
    for what, names, changes in MISTAKES:
        if name not in names or any(word in what for word in NOT_FOR_SGLANG):
            continue
        run = load_run(mistake(what, changes).made_in(definition.reference))
        assert not all(agrees(run, inputs, expected) for inputs, expected in pairs), what


def agrees(run: Any, inputs: dict[str, Any], expected: Any) -> bool:
    try:
        output, _ = run(*inputs.values())
    except (IndexError, RuntimeError):
        return False
    inside: bool = harness().compare_tensors(output, expected, 1e-2, 8e-3, 1.0).inside
    return inside
