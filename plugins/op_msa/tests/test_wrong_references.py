"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_msa import fibcore_implementations

pytest.importorskip("torch")

Small = dict[str, Definition]

ATTENTION = [
    Mistake.of("scale missing", ".mul_(scale)", ""),
    Mistake.of("keys behind the end", "(token < seq_lens[own, None, None])", "(token < 10**6)"),
    Mistake.of("one key too few", "seq_lens[own, None, None])", "seq_lens[own, None, None] - 1)"),
    Mistake.of("one key too many", "seq_lens[own, None, None])", "seq_lens[own, None, None] + 1)"),
    Mistake.of("-1 is a block", "(token >= 0) & ", ""),
    Mistake.of("block 0 is none", "(token >= 0)", "(token >= BLOCK_SIZE)"),
    Mistake.of("blocks of a page", "block * BLOCK_SIZE", "block * PAGE_SIZE"),
    Mistake.of("the first key of a block", "+ offset)", "+ 0 * offset)"),
    Mistake.of(
        "pages without the table",
        "block_table[own][rows, token // PAGE_SIZE]",
        "(token // PAGE_SIZE).int()",
    ),
    Mistake.of("places left out", "place = token % PAGE_SIZE", "place = 0 * token"),
    Mistake.of(
        "blocks of the first head",
        "block_indices[own, ..., None]",
        "block_indices[own, :1, :, None].expand(-1, NUM_KV_HEADS, -1, -1)",
    ),
    Mistake.of(
        "keys of the first head", "k_cache[page, place, head]", "k_cache[page, place, 0 * head]"
    ),
    Mistake.of(
        "values of the first head", "v_cache[page, place, head]", "v_cache[page, place, 0 * head]"
    ),
    Mistake.of("keys are values", "v = v_cache[", "v = k_cache["),
    Mistake.of(
        "heads by turns",
        "q[own].reshape(-1, group, HEAD_DIM)",
        "q[own].view(-1, group, NUM_KV_HEADS, HEAD_DIM).transpose(1, 2).flatten(0, 1)",
    ),
    Mistake.of(
        "weighed with 0",
        "v_cache[page, place, head].masked_fill_(~there[..., None], 0)",
        "v_cache[page, place, head]",
    ),
    Mistake.of("NaN without keys", "LOWEST), -1).masked_fill_(hidden, 0)", "-torch.inf), -1)"),
    Mistake.of("logits in bfloat16", ".mul_(scale)\n", ".mul_(scale).bfloat16().float()\n"),
    Mistake.of("blocks of the query before", "block_indices[own,", "block_indices.roll(1, 0)[own,"),
    Mistake.of(
        "the last query is left out", "range(0, num_tokens, step)", "range(0, num_tokens - 1, step)"
    ),
]
INDEXER = [
    Mistake.of(
        "keys behind the end",
        "there = token < length",
        "there = token < -(-length // PAGE_SIZE) * PAGE_SIZE",
    ),
    Mistake.of("hidden with 0", "scores.masked_fill_(~there[:, None], -math.inf)", "pass"),
    Mistake.of("a mean", ".amax(-1)", ".nan_to_num(0, neginf=0).mean(-1)"),
    Mistake.of("the worst", ".amax(-1)", ".amin(-1)"),
    Mistake.of("the first key of a block", ".amax(-1)", "[..., 0]"),
    Mistake.of(
        "without sign",
        "product(q[own].to(exact), keys.to(exact).mT)",
        "product(q[own].to(exact), keys.to(exact).mT).abs()",
    ),
    Mistake.of("the last block by its score", "- LOCAL_BLOCKS)", "- 0 * LOCAL_BLOCKS)"),
    Mistake.of("the last two always", "- LOCAL_BLOCKS)", "- 2 * LOCAL_BLOCKS)"),
    Mistake.of("the first one always", "(number < INIT_BLOCKS)", "(number < 1)"),
    Mistake.of(
        "the worst blocks", "min(TOPK, blocks), -1)", "min(TOPK, blocks), -1, largest=False)"
    ),
    Mistake.of("no -1", "kept = kept.masked_fill_(kept == blocks, -1)", "pass"),
    Mistake.of("one block fewer", "min(TOPK, blocks), -1)", "min(TOPK - 1, blocks), -1)"),
    Mistake.of("pages without the table", "block_table[own].gather(1, entry)", "entry.int()"),
    Mistake.of("places left out", "token % PAGE_SIZE, 0]", "0 * token, 0]"),
    Mistake.of(
        "one head for all",
        "q[own].to(exact), keys",
        "q[own, :1].expand(-1, NUM_INDEX_HEADS, -1).to(exact), keys",
    ),
    Mistake.of(
        "products in bfloat16", "keys.to(exact).mT)\n", "keys.to(exact).mT).bfloat16().float()\n"
    ),
    Mistake.of("the last query is left out", "num_tokens if blocks", "num_tokens - 1 if blocks"),
]


@pytest.mark.parametrize(
    ("kind", "mistake"), parameters({"attention": ATTENTION, "indexer": INDEXER})
)
def test_wrong_references_are_rejected(
    small: Small, template: Template, kind: str, mistake: Mistake
) -> None:
    assert_rejected(template, small[kind], mistake, crashes=CRASHES)


def test_blocks_in_front_that_are_left_out_are_rejected(
    with_init: Definition, template: Template
) -> None:
    mistake = Mistake.of("none in front", "(number < INIT_BLOCKS)", "(number < 0)")
    assert_rejected(template, with_init, mistake)


@pytest.mark.parametrize("kind", ["attention", "indexer"])
def test_wrong_implementations_are_rejected(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
