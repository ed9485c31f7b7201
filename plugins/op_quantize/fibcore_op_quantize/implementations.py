"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_quantize.definitions import kind_of
from fibcore_op_quantize.kinds import Kind


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none where it is not known what a definition computes."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    quantized = "result[0]" if kind.gives_scales else "result"
    rest = ", result[1]" if kind.gives_scales else ""
    rows = kind.input
    found = [
        *wrapped(
            definition,
            "rows in the other order",
            right=True,
            result=_both(kind, "{}.view(torch.int8).flip(0).view({}.dtype)"),
            inputs={rows: f"{rows}.flip(0)"},
        ),
        *_by_a_reciprocal(definition),
        *wrapped(
            definition,
            "the elements of a row take the place of others",
            result=f"{quantized}.view(torch.int8).roll(1, -1).view({quantized}.dtype){rest}",
        ),
        *wrapped(definition, "the sign is left out", inputs={rows: f"{rows}.abs()"}),
        *wrapped(definition, "half as large", inputs={rows: f"{rows} * 0.5"}),
    ]
    if kind.gives_scales:
        found += _wrong_scales(definition, kind)
    return tuple(found)


def _both(kind: Kind, flipped: str) -> str:
    """The outputs with rows in the other order."""
    if not kind.gives_scales:
        return flipped.format("result", "result")
    quantized = flipped.format("result[0]", "result[0]")
    if kind.covers == "all":
        return f"({quantized}, result[1])"
    scales = "result[1].flip(0)"
    if kind.scale_dtype.startswith("float8"):
        scales = flipped.format("result[1]", "result[1]")
    return f"({quantized}, {scales})"


def _by_a_reciprocal(definition: Definition) -> tuple[Implementation, ...]:
    """As kernels do, which multiply by 1 / scale."""
    return tuple(
        one
        for rows, scale in (
            ("x", "scale.unsqueeze(-1)"),
            ("x", "power.unsqueeze(-1)"),
            ("input[rows]", "scale"),
        )
        for one in rewritten(
            definition,
            "multiplied by the reciprocal of the scale",
            f"{rows} / {scale}",
            f"{rows} * (1.0 / {scale})",
            right=True,
        )
    )


def _wrong_scales(definition: Definition, kind: Kind) -> tuple[Implementation, ...]:
    scales = "result[1].view(torch.int8)"
    zeros = f"(result[0], torch.zeros_like({scales}).view(result[1].dtype))"
    found = [*wrapped(definition, "scales are not written", result=zeros)]
    if kind.covers == "group":
        moved = f"(result[0], {scales}.roll({_bytes(kind)}, -1).view(result[1].dtype))"
        found += wrapped(definition, "scales of the group before", result=moved)
    if kind.scale_dtype == "float32":
        found += wrapped(
            definition, "scales are reciprocals", result="(result[0], 1.0 / result[1])"
        )
    return tuple(found)


def _bytes(kind: Kind) -> int:
    return 4 if kind.scale_dtype == "float32" else 1
