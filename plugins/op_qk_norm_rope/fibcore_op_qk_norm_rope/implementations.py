"""Right and wrong kernels, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_qk_norm_rope.definitions import epsilon, shape_of
from fibcore_op_qk_norm_rope.names import Shape

_NORM = "rms_norm(heads.to(torch.float32), (HEAD_SIZE,), 1.0 + weight.to(torch.float32), EPSILON)"
_TURN = "turned = (a * cos - b * sin, b * cos + a * sin)"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    shape = shape_of(definition)
    if shape is None:
        return ()
    return (*_right(definition), *_wrong(definition, shape))


def _right(definition: Definition) -> tuple[Implementation, ...]:
    return (
        # As SGLang's kernel does.
        *rewritten(
            definition,
            "rounded before the rotation",
            _NORM,
            f"{_NORM}.to(heads.dtype).to(torch.float32)",
            right=True,
        ),
        *rewritten(
            definition, "chunks of a token", "chunk = max(1, ", "chunk = min(1, ", right=True
        ),
    )


def _wrong(definition: Definition, shape: Shape) -> tuple[Implementation, ...]:
    rest = ", *result[2:])"  # the gates, where there are some
    found = [
        *wrapped(definition, "weight without 1", q_weight="q_weight - 1", k_weight="k_weight - 1"),
        *wrapped(definition, "weights are swapped", q_weight="k_weight", k_weight="q_weight"),
        *wrapped(definition, "positions one on", positions="(positions + 1) % len(cos_sin_cache)"),
        *wrapped(definition, "queries 2 % too large", result=f"(result[0] * 1.02, result[1]{rest}"),
        *wrapped(definition, "keys stay as they were", result=f"(result[0], k.clone(){rest}"),
        *rewritten(
            definition,
            "turned the other way",
            _TURN,
            "turned = (a * cos + b * sin, b * cos - a * sin)",
        ),
        *rewritten(definition, "not turned", _TURN, "turned = (a, b)"),
        *rewritten(
            definition,
            "the mean is taken off",
            _NORM,
            _NORM.replace("float32), (", "float32) - heads.float().mean(-1, keepdim=True), (", 1),
        ),
    ]
    if shape.sections:
        found += wrapped(definition, "one position for all", axis_map="axis_map * 0")
    if shape.gated:
        swapped = "torch.cat(q_gate.chunk(2, dim=-1)[::-1], dim=-1)"
        found += wrapped(definition, "the gate stands before its query", q_gate=swapped)
    eps = epsilon(definition)
    if eps is not None:
        have = f"EPSILON = {eps!r}\n"
        found += rewritten(definition, "epsilon is left out", have, "EPSILON = 0.0\n")
    return tuple(found)
