"""Right and wrong matrix products, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, wrapped
from fibcore_op_gemm.formats import BLOCK, of_definition

# Bytes, because an fp8 tensor can neither be flipped nor joined.
_HELPERS = '''
def kept(x, begin, end):
    """A copy of a matrix that is zero but for the columns from `begin` to `end`."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    changed = torch.zeros_like(words)
    changed[:, begin:end] = words[:, begin:end]
    return changed.view(x.shape[0], -1).view(x.dtype)


def reversed_columns(x):
    """A matrix with its columns in the other order."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    return words.flip(1).reshape(x.shape[0], -1).view(x.dtype)


def transposed(x):
    """The transposed matrix, rows one after the other."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    return words.transpose(0, 1).reshape(x.shape[1], -1).view(x.dtype)


def without_last_column(x):
    """A copy of a matrix with zeros in its last column."""
    changed = x.clone()
    changed[:, -1] = 0
    return changed
'''


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for products that are not this plugin's."""
    matrices = of_definition(definition)
    if matrices is None or list(definition.outputs) != ["C"]:
        return ()
    n, k = definition.const_axes["N"], definition.const_axes["K"]
    last_block = (k - 1) // BLOCK * BLOCK
    found = [
        *_right(definition, k),
        *_wrong(definition, "the last element of K is dropped", A=f"kept(A, 0, {k - 1})"),
        *_wrong(definition, "the last block of K is dropped", A=f"kept(A, 0, {last_block})"),
        *_wrong(definition, "the last column of C is left out", "without_last_column(result)"),
        *_wrong(definition, "C is 2 % too large", "result * 1.02"),
    ]
    if n == k:
        found += _wrong(definition, "B is transposed", B="transposed(B)")
    if matrices.block_scaled:
        found += _wrong(definition, "scales of A are ignored", A_scale="torch.ones_like(A_scale)")
        mean = "B_scale * 0 + B_scale.mean()"
        found += _wrong(definition, "one scale for all of B", B_scale=mean)
        if k > BLOCK:
            found += _wrong(
                definition, "scales of the block before in K", B_scale="B_scale.roll(1, 1)"
            )
        if n > BLOCK:
            found += _wrong(
                definition, "scales of the block before in N", B_scale="B_scale.roll(1, 0)"
            )
    return tuple(found)


def _right(definition: Definition, k: int) -> list[Implementation]:
    half = k // 2
    inputs = ", ".join(name for name in definition.inputs if name != "A")
    parts = (f"kept(A, 0, {half})", f"kept(A, {half}, {k})")
    sums = " + ".join(f"reference({part}, {inputs})" for part in parts)
    found = [
        # As split-K kernels do that add parts in the dtype of C.
        *wrapped(
            definition,
            "two parts of K, rounded before they are added",
            right=True,
            helpers=_HELPERS,
            result=sums,
        )
    ]
    flipped = {name: f"reversed_columns({name})" for name in ("A", "B")}
    if "A_scale" in definition.inputs:
        if k % BLOCK:
            return found  # blocks would begin elsewhere
        flipped |= {name: f"{name}.flip(1)" for name in ("A_scale", "B_scale")}
    name = "K in the other order"
    found += wrapped(definition, name, right=True, helpers=_HELPERS, inputs=flipped)
    return found


def _wrong(
    definition: Definition, name: str, result: str = "result", **inputs: str
) -> tuple[Implementation, ...]:
    return wrapped(definition, name, helpers=_HELPERS, result=result, inputs=inputs)
