"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_msa.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """Those of attention, and of the choice of blocks; none for definitions of others.

    Two right kernels choose blocks in another order, and of blocks with equal scores others: the
    template's `figures` compare the scores of what is chosen.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    return _attention(definition) if kind == "attention" else _choice(definition)


def _choice(definition: Definition) -> tuple[Implementation, ...]:
    scores = "product(q[own].to(exact), keys.to(exact).mT)"
    best = "torch.topk(best, min(TOPK, blocks), -1)"
    return (
        *rewritten(
            definition,
            "a few queries at a time",
            *("CPU_KEYS = 4096", "CPU_KEYS = 1", "GPU_KEYS = 262144", "GPU_KEYS = 16384"),
            right=True,
        ),
        *wrapped(
            definition,
            "blocks in another order",
            right=True,
            result="result.sort(-1, descending=True).values",
        ),
        *rewritten(
            definition, "a mean of the scores", ".amax(-1)", ".nan_to_num(neginf=0.0).mean(-1)"
        ),
        *rewritten(definition, "the first key of a block", ".amax(-1)", "[..., 0]"),
        *rewritten(definition, "scores without sign", scores, f"{scores}.abs()"),
        *rewritten(
            definition, "the blocks with the smallest scores", best, f"{best[:-1]}, largest=False)"
        ),
        *rewritten(
            definition, "the last block by its score", "- LOCAL_BLOCKS)", "- 0 * LOCAL_BLOCKS)"
        ),
        *rewritten(definition, "the last two always", "- LOCAL_BLOCKS)", "- LOCAL_BLOCKS - 1)"),
        *rewritten(definition, "one block fewer", "min(TOPK, blocks)", "min(TOPK - 1, blocks)"),
        *wrapped(definition, "the last key is not seen", seq_lens="seq_lens - 1"),
        *wrapped(definition, "pages of the query before", block_table="block_table.roll(1, 0)"),
        *wrapped(definition, "queries of the head before", q="q.roll(1, 1)"),
        *wrapped(definition, "blocks of the query before", result="result.roll(1, 0)"),
        *wrapped(
            definition,
            "blocks are one too far",
            result="torch.where(result > 0, result - 1, result)",
        ),
    )


def _attention(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *rewritten(
            definition,
            "a few queries at a time",
            *("CPU_KEYS = 4096", "CPU_KEYS = 1", "GPU_KEYS = 262144", "GPU_KEYS = 16384"),
            right=True,
        ),
        # What tensor cores multiply with values.
        *rewritten(
            definition,
            "weights rounded to bfloat16",
            *("torch.bmm(weights, v", "torch.bmm(weights.bfloat16().float(), v"),
            right=True,
        ),
        *wrapped(
            definition, "blocks in another order", right=True, block_indices="block_indices.flip(2)"
        ),
        *wrapped(definition, "sm_scale + 5 %", sm_scale="float(sm_scale) * 1.05"),
        *wrapped(definition, "the last key is dropped", seq_lens="seq_lens - 1"),
        *wrapped(
            definition,
            "the block before each that is chosen",
            block_indices="torch.where(block_indices > 0, block_indices - 1, block_indices)",
        ),
        *wrapped(
            definition, "blocks of the query before", block_indices="block_indices.roll(1, 0)"
        ),
        *wrapped(definition, "pages of the query before", block_table="block_table.roll(1, 0)"),
        *wrapped(definition, "keys are values", v_cache="k_cache"),
    )
