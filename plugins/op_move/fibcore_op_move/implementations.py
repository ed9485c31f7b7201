"""Right and wrong writes to paged caches, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_move.definitions import layout_of
from fibcore_op_move.names import KINDS, TABLE


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    layout = layout_of(definition)
    if layout is None:
        return ()
    first, second = KINDS[layout].appended
    page = "PAGE_SIZE" if layout.startswith("kv") else "page_size"
    entries = "entries = kv_indptr[batch_indices] + positions"
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            inputs=_each("{}.flip(0)", first, second),
        ),
        *wrapped(definition, "page numbers are int64", right=True, kv_indices="kv_indices.long()"),
        *wrapped(
            definition, "the last new token is left out", inputs=_each("{}[:-1]", first, second)
        ),
        *wrapped(
            definition,
            "every token goes to the first sequence",
            batch_indices="torch.zeros_like(batch_indices)",
        ),
        *wrapped(
            definition,
            "pages are numbered without the page table",
            kv_indices="torch.arange(len(kv_indices), device=kv_indices.device)",
        ),
        *wrapped(definition, "what is written second is 0", inputs={second: f"{second} * 0"}),
        *(_of_scales(definition) if layout == "mla_block_scale" else ()),
        *(_of_fp8(definition) if layout in ("kv_fp8", "mla_fp8") else ()),
        *(
            one
            for scale in KINDS[layout].scales
            for one in (
                *rewritten(definition, f"{scale} is left out", f" / {scale}", ""),
                *rewritten(definition, f"{scale} multiplies", f" / {scale}", f" * {scale}"),
            )
        ),
        *rewritten(
            definition,
            "every token goes to the first page of its sequence",
            f"{entries} // {page}",
            f"{entries} // {page} * 0",
        ),
    )


def _of_fp8(definition: Definition) -> tuple[Implementation, ...]:
    """Those of caches of fp8."""
    parts = KINDS["kv_fp8"].appended, KINDS["kv_fp8"].scales
    divided = [
        (f"{name}.to(torch.float32) / {scale}", name, scale)
        for name, scale in zip(*parts, strict=True)
    ]
    found = [
        # As SGLang divides keys and values, before it rounds them to fp8.
        *rewritten(
            definition,
            "divided in bfloat16",
            *(text for old, name, scale in divided for text in (old, f"{name} / {scale}")),
            right=True,
        ),
        *rewritten(
            definition,
            "times the inverse",
            *(
                text
                for old, name, scale in divided
                for text in (old, f"{name}.to(torch.float32) * (1.0 / {scale})")
            ),
            right=True,
        ),
        *rewritten(
            definition,
            "the scales are each other's",
            *(" / k_scale", " / scale", " / v_scale", " / k_scale", " / scale", " / v_scale"),
        ),
    ]
    for name, old in (
        ("append_key", "append_key.to(torch.float32)"),
        ("append_ckv", "append_ckv.to("),
    ):
        smaller = old.replace(name, f"({name}.to(torch.float32) * 0.97)")
        found += rewritten(definition, "numbers are 3 % too small", old, smaller)
    return tuple(found)


def _of_scales(definition: Definition) -> tuple[Implementation, ...]:
    """Those of a cache that holds scales among its numbers."""
    divided, largest = "(blocks / scales)", "blocks.abs().amax(-1, keepdim=True)"
    return (
        # As SGLang's kernel has it.
        *rewritten(
            definition, "times the inverse", divided, "(blocks * (1.0 / scales))", right=True
        ),
        # As the function does that SGLang 0.5.9 holds it against.
        *rewritten(
            definition,
            "scales are rounded to bfloat16",
            f"{largest} / FP8_MAX",
            f"({largest} / FP8_MAX).bfloat16().float()",
            right=True,
        ),
        *rewritten(definition, "scales are left out", divided, "blocks"),
        *rewritten(
            definition, "scales of the block before", divided, "(blocks / scales.roll(1, 1))"
        ),
        *rewritten(
            definition,
            "one scale for all blocks",
            largest,
            "blocks.abs().amax().expand(tokens, HEAD_DIM_CKV // BLOCK, 1)",
        ),
        *rewritten(definition, "the largest without its sign", "blocks.abs().amax", "blocks.amax"),
        *rewritten(
            definition, "scales are too small by a third", "FP8_MAX = 448.0", "FP8_MAX = 672.0"
        ),
        *rewritten(
            definition,
            "numbers are 3 % too small",
            "numbers.to(torch.float8_e4m3fn)",
            "(numbers * 0.97).to(torch.float8_e4m3fn)",
        ),
        *wrapped(
            definition,
            "the rope part is rounded to fp8",
            append_kpe="append_kpe.to(torch.float8_e4m3fn).to(torch.bfloat16)",
        ),
    )


def _each(form: str, *appended: str) -> dict[str, str]:
    """What all that a new token has is replaced by."""
    return {name: form.format(name) for name in (*appended, *TABLE)}
