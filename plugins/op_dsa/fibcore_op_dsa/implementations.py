"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_dsa.definitions import kind_of
from fibcore_op_dsa.names import Kind

_WITHOUT_LAST = '''
def without_last(indices):
    """The indices, without the last one that names a key in each row."""
    there = indices >= 0
    last = there & (there.long().cumsum(-1) == there.long().sum(-1, keepdim=True))
    return indices.masked_fill(last, -1)
'''


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """Those of sparse attention and of the choice of keys; none for definitions of others.

    Two right kernels choose keys in another order, and of keys with equal scores others: the
    template's `figures` compare the scores of what is chosen.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    return _choice(definition) if kind == "indexer" else _attention(definition, kind)


def _choice(definition: Definition) -> tuple[Implementation, ...]:
    products = "product(q, k.mT).relu_()"
    return (
        *rewritten(
            definition,
            "a page of keys at a time",
            *("CPU_KEYS = 4096", "CPU_KEYS = 1", "GPU_KEYS = 262144", "GPU_KEYS = 8192"),
            right=True,
        ),
        *wrapped(
            definition,
            "keys in another order",
            right=True,
            result="result.sort(-1, descending=True).values",
        ),
        # As SGLang's function in torch has it.
        *rewritten(
            definition,
            "products rounded to bfloat16",
            products,
            "product(q, k.mT).relu_().bfloat16().float()",
            right=True,
        ),
        *rewritten(definition, "negative products count", products, "product(q, k.mT)"),
        *rewritten(definition, "scales are left out", "[:, 0].mul_(scale)", "[:, 0]"),
        *rewritten(
            definition, "scales of the key before", ".mul_(scale)", ".mul_(scale.roll(1, 1))"
        ),
        *rewritten(
            definition,
            "the keys with the smallest scores",
            ", -1).indices",
            ", -1, largest=False).indices",
        ),
        *wrapped(definition, "weights without sign", weights="weights.abs()"),
        *wrapped(definition, "all heads have one weight", weights="torch.ones_like(weights)"),
        *wrapped(
            definition,
            "the last head is left out",
            weights="torch.cat((weights[:, :-1], 0 * weights[:, -1:]), 1)",
        ),
        *wrapped(definition, "the last key is not seen", seq_lens="seq_lens - 1"),
        *wrapped(definition, "pages of the query before", block_table="block_table.roll(1, 0)"),
        *wrapped(
            definition,
            "queries of the sequence before",
            q_index_fp8="q_index_fp8.view(torch.int8).roll(1, 0).view(q_index_fp8.dtype)",
        ),
        *wrapped(definition, "keys of the query before", result="result.roll(1, 0)"),
        *wrapped(
            definition, "the key before each", result="torch.where(result > 0, result - 1, result)"
        ),
    )


def _attention(definition: Definition, kind: Kind) -> tuple[Implementation, ...]:
    softmax = "torch.softmax(logits, -1)"
    return (
        *rewritten(
            definition,
            "a few queries at a time",
            "CPU_KEYS = 4096",
            "CPU_KEYS = 1",
            "GPU_KEYS = 65536",
            "GPU_KEYS = 8192",
            right=True,
        ),
        # What tensor cores multiply with values, as FlashInfer's kernels do.
        *rewritten(
            definition,
            "weights rounded to bfloat16",
            softmax,
            f"{softmax}.to(torch.bfloat16).float()",
            right=True,
        ),
        *wrapped(
            definition, "keys in another order", right=True, sparse_indices="sparse_indices.flip(1)"
        ),
        *wrapped(definition, "sm_scale + 2 %", sm_scale="float(sm_scale) * 1.02"),
        *wrapped(
            definition,
            "lse is a natural logarithm",
            result="(result[0], result[1] * 0.6931471805599453)",
        ),
        *wrapped(
            definition,
            "the last key is dropped",
            helpers=_WITHOUT_LAST,
            sparse_indices="without_last(sparse_indices)",
        ),
        *wrapped(
            definition,
            "the key before each that is chosen",
            sparse_indices="torch.where(sparse_indices > 0, sparse_indices - 1, sparse_indices)",
        ),
        *wrapped(
            definition,
            "the keys of the query before",
            sparse_indices="sparse_indices.roll(1, 0)",
        ),
        *wrapped(
            definition, "missing keys are the first one", sparse_indices="sparse_indices.clamp(0)"
        ),
        *wrapped(
            definition, "the rope part is left out of the logits", q_pe="torch.zeros_like(q_pe)"
        ),
        *(_of_scales(definition) if kind == "scaled" else ()),
    )


def _of_scales(definition: Definition) -> tuple[Implementation, ...]:
    """Those of a cache that holds scales among its numbers."""
    values, product = "scales.repeat_interleave(BLOCK, -1)", "scales[:, None, :, block]"
    return (
        # As FlashMLA's kernel makes them before it multiplies.
        *rewritten(
            definition,
            "values rounded to bfloat16",
            f"numbers.float() * {values}",
            f"(numbers.float() * {values}).bfloat16().float()",
            right=True,
        ),
        *rewritten(definition, "values have no scales", f" * {values}", ""),
        *rewritten(definition, "products have no scales", f"some * {product}", "some"),
        *rewritten(
            definition,
            "scales of the block before",
            ".view(torch.float32)",
            ".view(torch.float32).roll(1, -1)",
        ),
        *rewritten(
            definition,
            "one scale for all blocks",
            ".view(torch.float32)",
            ".view(torch.float32)[..., :1].expand(*place.shape, HEAD_DIM_CKV // BLOCK)",
        ),
    )
