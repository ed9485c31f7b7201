"""Right and wrong kernels of latent attention, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_mla.definitions import kind_of
from fibcore_op_mla.names import PAGE_SIZE

# With one key a page, the last one goes with its page.
_WITHOUT_LAST = '''
def without_last_page(kv_indptr, kv_indices):
    """Where pages begin, and the pages, when the last one of every sequence is taken away."""
    pages = kv_indptr[1:] - kv_indptr[:-1]
    kept = torch.ones_like(kv_indices, dtype=torch.bool)
    kept[(kv_indptr[1:] - 1)[pages > 0].long()] = False
    ends = (pages - 1).clamp(min=0).cumsum(0).to(kv_indptr.dtype)
    return torch.cat([kv_indptr[:1], ends]), kv_indices[kept]
'''
_WRONG_PAGE = '''
def wrong_page(kv_indptr, kv_indices, last):
    """The pages, with that of number 0 in the place of the first or last one of every sequence."""
    pages = kv_indptr[1:] - kv_indptr[:-1]
    place = kv_indptr[1:] - 1 if last else kv_indptr[:-1]
    changed = kv_indices.clone()
    changed[place[pages > 0].long()] = 0
    return changed
'''
# How a weighted sum of values begins, by the file of the reference.
_WEIGHTED = (
    "return torch.bmm(weights, ckv.float()), sums",
    "return weighted_sum(weights, v).div_(sums)",
    "return product(weights, v).div_(sums)",
)
# Fewer keys at a time, on CPU and GPU.
_STEPS = (
    ("GPU_KEY_CHUNK = 32768", "GPU_KEY_CHUNK = 4096"),
    ("CPU_KEY_CHUNK = 1024", "CPU_KEY_CHUNK = 128"),
    ("GPU_BOUNDS = (256, 2048,", "GPU_BOUNDS = (256, 256,"),
    ("CPU_BOUNDS = (64, 512,", "CPU_BOUNDS = (64, 64,"),
)


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for attention that is not this plugin's."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    found = [
        *_right(definition),
        *wrapped(definition, "sm_scale + 2 %", sm_scale="float(sm_scale) * 1.02"),
        *wrapped(
            definition,
            "lse is a natural logarithm",
            result="(result[0], result[1] * 0.6931471805599453)",
        ),
    ]
    found += wrapped(definition, "kv_scale left out", kv_scale="1.0")
    if "kv_scale" in definition.inputs:
        unscaled = "((result[0] / float(kv_scale)).to(q_nope.dtype), result[1])"
        found += wrapped(definition, "values are not scaled", result=unscaled)
    if kind == "ragged":
        found += wrapped(definition, "values of the key before", v="v.roll(1, 0)")
        found += wrapped(definition, "keys of the next head", k="k.roll(1, 1)")
    else:
        found += _paged(definition)
    if kind != "decode":
        found += rewritten(
            definition,
            "no causal mask",
            "(length - end + min(first + size, end),",
            "(length,",
            "last_key = reach - count + offset",
            "last_key = reach - 1 + 0 * offset",
        )
    return tuple(found)


def _right(definition: Definition) -> tuple[Implementation, ...]:
    there = [text for pair in _STEPS if pair[0] in definition.reference for text in pair]
    found = [*rewritten(definition, "a few keys at a time", *there, right=True)] if there else []
    # What tensor cores multiply with values, as FlashInfer's kernels do.
    for text in _WEIGHTED:
        rounded = text.replace("(weights,", "(weights.to(torch.bfloat16).to(torch.float32),")
        found += rewritten(definition, "weights rounded to bfloat16", text, rounded, right=True)
    return tuple(found)


def _paged(definition: Definition) -> tuple[Implementation, ...]:
    dropped = "the last key is dropped"
    if definition.const_axes[PAGE_SIZE.name] == 1:
        without = "without_last_page(kv_indptr, kv_indices)"
        last = wrapped(
            definition,
            dropped,
            helpers=_WITHOUT_LAST,
            kv_indptr=f"{without}[0]",
            kv_indices=f"{without}[1]",
        )
    else:
        last = wrapped(definition, dropped, kv_last_page_len="(kv_last_page_len - 1).clamp(min=0)")
    return (
        *last,
        *wrapped(
            definition,
            "the first page is another one",
            helpers=_WRONG_PAGE,
            kv_indices="wrong_page(kv_indptr, kv_indices, False)",
        ),
        *wrapped(
            definition, "the rope part is left out of the logits", q_pe="torch.zeros_like(q_pe)"
        ),
        *wrapped(
            definition,
            "the scale of the latent dimensions",
            sm_scale="(q_nope.shape[-1] + q_pe.shape[-1]) ** -0.5",
        ),
    )
