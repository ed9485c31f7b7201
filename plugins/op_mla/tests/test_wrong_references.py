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

OWN_PAGE = (
    "torch.where(held, kv_indptr[s] + key // PAGE_SIZE, 0)",
    "(kv_indptr[s] + key // PAGE_SIZE).clamp(max=len(kv_indices) - 1)",
)
ONE_HEAD = "[:, :, :1].expand(-1, -1, heads, -1).masked_fill(beyond, 0)"
HIDDEN = "key > last_key[:, :, None]"
SCALE = "(sm_scale * math.log2(math.e))"

# What is wrong, in which references, and what stands in the place of which text.
MISTAKES: list[tuple[str, list[str], list[tuple[str, str]]]] = [
    (
        "rope part left out of the logits",
        PAGED,
        [("torch.bmm(q, k.transpose(1, 2))", "torch.bmm(q[..., :ckv], k[..., :ckv].mT)")],
    ),
    (
        "rope part left out of the logits",
        RAGGED,
        [
            (
                "torch.bmm(queries, keys.transpose(1, 2))",
                "torch.bmm(queries[..., :-8], keys[..., :-8].mT)",
            )
        ],
    ),
    ("scale missing", ALL, [(SCALE, "(math.log2(math.e))")]),
    ("scale from the size of a cached key", PAGED, [(SCALE, "(dim**-0.5 * math.log2(math.e))")]),
    ("scale from the size of a key", RAGGED, [(SCALE, "(qk**-0.5 * math.log2(math.e))")]),
    (
        "natural logarithm in the lse",
        ALL,
        [("(top + torch.log2(total))", "((top + torch.log2(total)) * math.log(2))")],
    ),
    (
        "powers of e of base-2 logits",
        ALL,
        [("logits.sub_(base).exp2_()", "logits.sub_(base).exp_()")],
    ),
    ("one key too many", ALL, [(HIDDEN, HIDDEN + " + 1")]),
    ("one key too few", ALL, [(HIDDEN, "key >= last_key[:, :, None]")]),
    (
        "first query aligned with the first key",
        ALL,
        [("last_key = pos + shift[s]", "last_key = pos")],
    ),
    (
        "not causal",
        PREFILL + RAGGED,
        [(HIDDEN, "(key >= kv_lens[s])[:, None].expand(-1, tile, -1)")],
    ),
    (
        "values from the end of the key",
        PAGED,
        [("baddbmm_(weights, k[:, :, :ckv])", "baddbmm_(weights, k[:, :, -ckv:])")],
    ),
    (
        "length of the last page ignored",
        LARGE_PAGES,
        [("(pages - 1) * PAGE_SIZE + kv_last_page_len.long()", "pages * PAGE_SIZE")],
    ),
    (
        "unused memory weighed with 0",
        LARGE_PAGES,
        [OWN_PAGE, ("k.masked_fill_(~held[:, :, None], 0)", "k")],
    ),
    (
        "unused memory multiplied by 0",
        LARGE_PAGES,
        [OWN_PAGE, ("k.masked_fill_(~held[:, :, None], 0)", "(k * held[:, :, None])")],
    ),
    ("other sequences weighed with 0", RAGGED, [(".masked_fill_(beyond, 0)", "")]),
    (
        "NaN while no key was seen",
        ALL,
        [("torch.where(higher == -math.inf, 0, higher)", "higher")],
    ),
    ("division by no weight", ALL, [("torch.where(total == 0, 1, total)", "total")]),
    ("lse 0 without keys", ALL, [(".shape[:2], -math.inf", ".shape[:2], 0.0")]),
    (
        "page numbers left out",
        PAGED,
        [
            ("kv_indices[torch.where(", "(torch.where("),
            ("0)].long()", "0)).long()"),
        ],
    ),
    (
        "tokens counted as pages",
        LARGE_PAGES,
        [("kv_indptr[s] + key // PAGE_SIZE", "kv_indptr[s] + key")],
    ),
    ("place in the page left out", LARGE_PAGES, [("slot = key % PAGE_SIZE", "slot = key * 0")]),
    ("keys of another sequence", RAGGED, [("kv_indptr[s] + key", "qo_indptr[s] + key")]),
    ("sum of weights not carried over", ALL, [("total = total * keep +", "total = total +")]),
    ("values not carried over", ALL, [("mixed.mul_(keep).baddbmm_", "mixed.baddbmm_")]),
    (
        "heads and queries swapped",
        PREFILL,
        [(".view(len(s), tile, heads, ckv)", ".view(len(s), heads, tile, ckv).transpose(1, 2)")],
    ),
    (
        "keys of one head for all",
        RAGGED,
        [("k[slot].masked_fill_(beyond, 0)", "k[slot]" + ONE_HEAD)],
    ),
    (
        "values of one head for all",
        RAGGED,
        [("v[slot].masked_fill_(beyond, 0)", "v[slot]" + ONE_HEAD)],
    ),
    (
        "logits rounded to bfloat16",
        PAGED,
        [("torch.bmm(q, k.transpose(1, 2))", "torch.bmm(q, k.mT).bfloat16().float()")],
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
