"""Right and wrong kernels of grouped query attention, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_gqa.definitions import extras_of, kind_of
from fibcore_op_gqa.names import PAGE_SIZE, Extras

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
_CAUSAL = "(kv_len - q_len)[owner, None] + row + 1"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for attention that is not this plugin's."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    found = [*_right(definition), *_everywhere(definition), *_extras(definition)]
    if kind != "ragged":
        found += _paged(definition)
    else:
        found += wrapped(definition, "values of the key before", v="v.roll(1, 0)")
    if kind != "decode" and extras_of(definition).causal:
        found += rewritten(definition, "no causal mask", _CAUSAL, "kv_len[owner, None] + 0 * row")
        found += rewritten(
            definition,
            "the mask shows one key too many",
            _CAUSAL,
            "torch.minimum((kv_len - q_len)[owner, None] + row + 2, kv_len[owner, None])",
        )
    if not extras_of(definition).causal:
        found += rewritten(definition, "a causal mask", "CAUSAL = False", "CAUSAL = True")
    if extras_of(definition).mask:
        found += _masks(definition)
    if extras_of(definition).cache is not None:
        found += _scales(definition)
    return tuple(found)


def _right(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *rewritten(
            definition,
            "a few keys at a time",
            "MAX_ELEMENTS = 2**20",
            "MAX_ELEMENTS = 2**15",
            right=True,
        ),
        # What tensor cores multiply with values, as FlashInfer's fa2 and fa3 kernels do.
        *rewritten(
            definition,
            "weights rounded to bfloat16",
            "part = weighted_sum(weights, v)",
            "part = weighted_sum(weights.to(torch.bfloat16).float(), v)",
            right=True,
        ),
    )


def _everywhere(definition: Definition) -> tuple[Implementation, ...]:
    axes = definition.const_axes
    heads, kv_heads = axes["num_qo_heads"], axes["num_kv_heads"]
    group = heads // kv_heads
    found = [
        *wrapped(definition, "sm_scale + 2 %", sm_scale="float(sm_scale) * 1.02"),
        *wrapped(
            definition,
            "lse is a natural logarithm",
            result="(result[0], result[1] * 0.6931471805599453)",
        ),
    ]
    if 1 < kv_heads < heads:
        found += wrapped(
            definition,
            "query head h reads KV head h % num_kv_heads",
            q=f"q.unflatten(1, ({group}, {kv_heads})).transpose(1, 2).flatten(1, 2)",
            result=(
                f"tuple(x.unflatten(1, ({kv_heads}, {group})).transpose(1, 2).flatten(1, 2)"
                " for x in result)"
            ),
        )
    return tuple(found)


def _paged(definition: Definition) -> tuple[Implementation, ...]:
    dropped, other = "the last key is dropped", "the first page is another one"
    changed = "wrong_page(kv_indptr, kv_indices, False)"
    if extras_of(definition).local:  # which hides the first page
        other, changed = "the last page is another one", changed.replace("False", "True")
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
    return (*last, *wrapped(definition, other, helpers=_WRONG_PAGE, kv_indices=changed))


def _extras(definition: Definition) -> tuple[Implementation, ...]:
    extras: Extras = extras_of(definition)
    found: list[Implementation] = []
    if extras.window is not None:
        have = f"SLIDING_WINDOW = {extras.window}\n"
        for name, wanted in (
            ("the window is left out", 10**9),
            ("the window is one key too large", extras.window + 1),
            ("the window is one key too small", extras.window - 1),
        ):
            found += rewritten(definition, name, have, f"SLIDING_WINDOW = {wanted}\n")
    if extras.chunk is not None:
        have = f"ATTENTION_CHUNK = {extras.chunk}\n"
        for name, wanted in (
            ("the chunks are left out", 10**9),
            ("chunks are one key too large", extras.chunk + 1),
            ("chunks are one key too small", extras.chunk - 1),
        ):
            found += rewritten(definition, name, have, f"ATTENTION_CHUNK = {wanted}\n")
        # A query then sees the last keys, however far the chunk before reaches.
        found += rewritten(
            definition,
            "the chunks are a window",
            "begun = (visible - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK",
            "begun = visible - ATTENTION_CHUNK",
            "first = ((visible[:, :1] - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK).clamp(min=0)",
            "first = (visible[:, :1] - ATTENTION_CHUNK).clamp(min=0)",
            "before = ((first - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK).clamp(min=0)",
            "before = (first - ATTENTION_CHUNK).clamp(min=0)",
            "passed = (most - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK",
            "passed = max(0, most - ATTENTION_CHUNK)",
        )
    if extras.sink:
        found += _sinks(definition)
    if extras.cap is not None:
        have = f"LOGIT_CAP = {extras.cap!r}\n"
        found += rewritten(definition, "the cap is left out", have, "LOGIT_CAP = 1e9\n")
    return tuple(found)


def _masks(definition: Definition) -> list[Implementation]:
    # With a window besides, rows have two offsets.
    begin = "offset[:, :, None" + ("" if extras_of(definition).window is None else ", 0")
    seen, all_seen = f"custom_mask[{begin}] + column]", f"(custom_mask[{begin}] + column] | True)"
    return [
        *rewritten(definition, "the mask is left out", seen, all_seen),
        # A draft then sees those that it does not follow.
        *rewritten(
            definition,
            "a causal mask",
            "visible = kv_len[owner, None].expand_as(row)",
            f"visible = ({_CAUSAL}).clamp(min=0)",
            seen,
            all_seen,
        ),
        *wrapped(definition, "the mask is one key off", custom_mask="custom_mask.roll(1)"),
    ]


def _scales(definition: Definition) -> list[Implementation]:
    rounded = "((result[0] * float(v_scale)).to(result[0].dtype), result[1])"
    return [
        # As FlashInfer's wrappers do.
        *wrapped(definition, "rounded before v_scale", right=True, v_scale="1.0", result=rounded),
        *wrapped(definition, "k_scale is left out", k_scale="1.0"),
        *wrapped(definition, "v_scale is left out", v_scale="1.0"),
        *wrapped(
            definition,
            "the scales are swapped",
            inputs={"k_scale": "v_scale", "v_scale": "k_scale"},
        ),
        *wrapped(
            definition, "the cache holds numbers divided by scales", k_scale="1 / float(k_scale)"
        ),
    ]


def _sinks(definition: Definition) -> tuple[Implementation, ...]:
    none = "torch.full_like(sinks, -1e30)"
    shifted = "(result[0], result[1] + sinks * 1.4426950408889634)"
    of_keys = "torch.log2(-torch.expm1(sinks - result[1] * 0.6931471805599453))"
    found = [
        *wrapped(definition, "the sinks are left out", sinks=none),
        # To what all logits share, a softmax is blind.
        *wrapped(
            definition, "the sinks are added to every key's logit", sinks=none, result=shifted
        ),
        *wrapped(definition, "the sinks are scaled", sinks="sinks * sm_scale"),
        *wrapped(
            definition,
            "the sinks are logarithms to the base 2",
            sinks="sinks * 0.6931471805599453",
        ),
        *wrapped(
            definition,
            "the lse leaves out the sinks",
            result=f"(result[0], result[1] + {of_keys})",
        ),
    ]
    if definition.const_axes["num_qo_heads"] > 1:
        found += wrapped(definition, "the sinks are those of the next head", sinks="sinks.roll(1)")
    return tuple(found)
