"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_msa.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """Those of attention; none for the choice of blocks, and for definitions of others.

    Two right kernels choose blocks in another order, and of blocks with equal scores others: no
    tolerance of an output tells them from wrong ones. The reference tests do, by the scores.
    """
    if kind_of(definition) != "attention":
        return ()
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
