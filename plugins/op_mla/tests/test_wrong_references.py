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
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_mla import fibcore_ground_truths, fibcore_implementations

torch = pytest.importorskip("torch")

DEFINITIONS = small_definitions()
DECODE = [name for name in DEFINITIONS if "decode" in name]
PREFILL = [name for name in DEFINITIONS if "paged_prefill" in name]
RAGGED = [name for name in DEFINITIONS if "ragged" in name]
PAGED = DECODE + PREFILL
LARGE_PAGES = [name for name in PAGED if name.endswith("ps4")]
QUANTISED = [name for name in PAGED if name.endswith("fp8kv")]
ALL = PAGED + RAGGED

# Many steps of few keys.
STEPS = [
    ("CPU_BOUNDS = (64, 512, 8 << 20)", "CPU_BOUNDS = (64, 64, 1 << 14)"),
]
DECODE_STEPS = [("CPU_KEY_CHUNK = 1024", "CPU_KEY_CHUNK = 64")]
# Hide what is hidden of all the keys, not of those alone that a query is known not to see.
EVERYWHERE = [("min(max(begin, all_see), end)", "begin")]
HIDDEN = "key > last_key[own, :, None]"
BEYOND = "device=length.device) >= length"
SCALE = ".mul_(sm_scale)"
MERGED = "mixed.lerp_(means, torch.sigmoid(sums - total))"

# What is wrong, in which references, and what stands in the place of which text.
MISTAKES: list[tuple[str, list[str], list[tuple[str, str]]]] = [
    ("rope part left out of the logits", DECODE, [(".add_(product(q_pe, kpe.mT))", "")]),
    (
        "rope part left out of the logits",
        PREFILL + RAGGED,
        [("product(q, k.mT)", "product(q[..., :-8], k[..., :-8].mT)")],
    ),
    ("scale missing", ALL, [(SCALE, "")]),
    ("scale from the size of the latents", DECODE, [(SCALE, ".mul_(q_nope.shape[2] ** -0.5)")]),
    ("scale from the size of a key", PREFILL + RAGGED, [(SCALE, ".mul_(q.shape[2] ** -0.5)")]),
    ("natural logarithm in the lse", ALL, [(".mul_(math.log2(math.e))", "")]),
    (
        "logits taken for those of powers of 2",
        DECODE,
        [("torch.softmax(logits, -1)", "torch.softmax(logits * math.log(2), -1)")],
    ),
    ("logits taken for those of powers of 2", PREFILL + RAGGED, [(".exp_()", ".exp2_()")]),
    ("one key too many", DECODE, [(BEYOND, BEYOND.replace(">=", ">"))]),
    ("one key too few", DECODE, [(BEYOND, BEYOND + " - (length > 1)")]),
    (
        "one key too many",
        PREFILL + RAGGED,
        [(HIDDEN, "key > last_key[own, :, None] + 1"), *EVERYWHERE],
    ),
    ("one key too few", PREFILL + RAGGED, [(HIDDEN, "key >= last_key[own, :, None]"), *EVERYWHERE]),
    (
        "first query aligned with the first key",
        PREFILL + RAGGED,
        [("last_key = reach - count + offset", "last_key = offset"), *EVERYWHERE],
    ),
    (
        "not causal",
        PREFILL + RAGGED,
        [(HIDDEN, "key > (reach[own] - 1 + 0 * last_key[own])[:, :, None]")],
    ),
    ("nothing hidden", DECODE, [("logits.masked_fill_(beyond[:, None], -math.inf)", "pass")]),
    ("nothing hidden", PREFILL + RAGGED, [("min(max(begin, all_see), end)", "end")]),
    (
        "hidden from one key too late",
        PREFILL + RAGGED,
        [("min(seen - n + 1 for", "min(seen - n + 2 for")],
    ),
    ("values from the end of the key", PREFILL, [("k, k[..., :ckv]", "k, k[..., -ckv:]")]),
    (
        "length of the last page ignored",
        LARGE_PAGES,
        [("(pages - 1) * PAGE_SIZE + last if", "pages * PAGE_SIZE if")],
    ),
    (
        "unused memory weighed with 0",
        LARGE_PAGES,
        [("ckv.masked_fill_(beyond[..., None], 0)", "ckv")],
    ),
    (
        "other sequences weighed with 0",
        RAGGED,
        [
            (
                "torch.minimum(key, last_key[own, -1:])",
                "torch.where(key <= last_key[own, -1:], key, -first_key[own])",
            )
        ],
    ),
    (
        "NaN where a step is hidden",
        PREFILL + RAGGED,
        [(", LOWEST)", ", -math.inf)"), *STEPS],
    ),
    ("lse 0 without keys", ALL, [(".shape[:2], -math.inf", ".shape[:2], 0.0")]),
    (
        "output of queries without keys",
        PREFILL,
        [
            ("range(max(begin, end - length), end, size)", "range(begin, end, size)"),
            ("range(0, longest, step)", "range(0, max(longest, 1), step)"),
        ],
    ),
    (
        "output of queries without keys",
        RAGGED,
        [("range(max(begin, end - length), end, size)", "range(begin, end, size)")],
    ),
    (
        "page numbers left out",
        PAGED,
        [("page = kv_indices[first_page + page]", "page = first_page + page")],
    ),
    ("pages of another sequence", PAGED, [("kv_indices[first_page + page]", "kv_indices[page]")]),
    (
        "tokens counted as pages",
        LARGE_PAGES,
        [
            (
                "torch.minimum(page, (length - 1) // PAGE_SIZE)",
                "torch.minimum(page * PAGE_SIZE, length - 1)",
            )
        ],
    ),
    ("keys of another sequence", RAGGED, [("first_row = first_key[", "first_row = start[")]),
    (
        "sum of weights not carried over",
        DECODE,
        [("= torch.logaddexp(", "= torch.maximum("), *DECODE_STEPS],
    ),
    (
        "sum of weights not carried over",
        PREFILL + RAGGED,
        [("= torch.logaddexp(", "= torch.maximum("), *STEPS],
    ),
    ("values not carried over", DECODE, [(MERGED, "mixed = means"), *DECODE_STEPS]),
    ("values not carried over", PREFILL + RAGGED, [(MERGED, "mixed = means"), *STEPS]),
    ("steps weighed alike", DECODE, [(MERGED, "mixed.lerp_(means, 0.5)"), *DECODE_STEPS]),
    ("steps weighed alike", PREFILL + RAGGED, [(MERGED, "mixed.lerp_(means, 0.5)"), *STEPS]),
    # With the steps as they are: the cases are long enough for more than one.
    (
        "later steps left out",
        DECODE,
        [("range(0, longest, step)", "range(0, min(longest, step), step)")],
    ),
    (
        "later steps left out",
        PREFILL,
        [("range(0, longest, step)", "range(0, min(longest, step), step)")],
    ),
    (
        "later steps left out",
        RAGGED,
        [("range(0, longest, key_chunk)", "range(0, min(longest, key_chunk), key_chunk)")],
    ),
    (
        "heads and queries swapped",
        PREFILL,
        [
            (
                "mixed.view(*rows.shape, heads, ckv)",
                "mixed.view(len(rows), heads, -1, ckv).transpose(1, 2)",
            )
        ],
    ),
    (
        "keys of one head for all",
        RAGGED,
        [("k_rows[key_rows]", "k_rows[key_rows // heads * heads]")],
    ),
    (
        "values of one head for all",
        RAGGED,
        [("v_rows[key_rows]", "v_rows[key_rows // heads * heads]")],
    ),
    (
        "last query of a tile left out",
        PREFILL + RAGGED,
        [
            (
                "torch.arange(size, device=device), count - 1)",
                "torch.arange(size, device=device), (count - 2).clamp(min=0))",
            )
        ],
    ),
    (
        "scale of the cache left out of the values",
        [name for name in QUANTISED if name in DECODE],
        [("mixed.mul_(float(kv_scale))", "pass")],
    ),
    (
        "scale of the cache left out of the values",
        [name for name in QUANTISED if name in PREFILL],
        [("mixed.mul_(kv_scale)", "pass")],
    ),
    (
        "scale of the cache left out of the logits",
        [name for name in QUANTISED if name in DECODE],
        [("scale *= float(kv_scale)", "pass")],
    ),
    (
        "scale of the cache left out of the logits",
        [name for name in QUANTISED if name in PREFILL],
        [("float(sm_scale) * float(kv_scale)", "float(sm_scale)")],
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


@pytest.mark.parametrize("name", ALL)
def test_wrong_implementations_are_rejected(name: str) -> None:
    definition = DEFINITIONS[name]
    template = template_of(definition.op_type)
    assert_wrong_ones_rejected(template, definition, fibcore_implementations(definition))
