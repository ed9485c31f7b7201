"""Right and wrong matrix products, by which benchmarks are tried."""

from __future__ import annotations

from collections.abc import Iterator

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_gemm.formats import BLOCK, AnyFormat, Format, of_definition
from fibcore_op_gemm.weight_only import WeightOnly

# Bytes, because an fp8 tensor can neither be flipped nor joined.
_HELPERS = '''
def kept(x, begin, end):
    """A copy of a matrix that is zero but for the columns from `begin` to `end`."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    changed = torch.zeros_like(words)
    changed[..., begin:end, :] = words[..., begin:end, :]
    return changed.flatten(-2).view(x.dtype)


def reversed_columns(x):
    """A matrix with its columns in the other order."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    return words.flip(-2).flatten(-2).view(x.dtype)


def transposed(x):
    """The transposed matrix, rows one after the other."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    return words.transpose(-3, -2).flatten(-2).contiguous().view(x.dtype)


def rolled(x, dim):
    """A tensor whose elements have moved on by one along a dimension, counted from the last."""
    words = x.contiguous().view(torch.uint8).view(*x.shape, x.element_size())
    return words.roll(1, dim - 1).flatten(-2).view(x.dtype)


def swapped(x):
    """Bytes whose halves have changed places."""
    bits = x.view(torch.uint8)
    return ((bits << 4) | (bits >> 4)).view(x.dtype)


def ones(x):
    """Scales of one."""
    return torch.full_like(x, 127) if x.dtype == torch.int8 else torch.ones_like(x)


def without_last_column(x):
    """A copy of a matrix with zeros in its last column."""
    changed = x.clone()
    changed[..., -1] = 0
    return changed
'''


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for products that are not this plugin's."""
    matrices = of_definition(definition)
    if matrices is None or list(definition.outputs) != ["C"]:
        return ()
    n, k = definition.const_axes["N"], definition.const_axes["K"]
    columns = k // 2 if matrices.packed and definition.inputs["A"].dtype == "int8" else k
    last_block = (k - 1) // BLOCK * BLOCK * columns // k
    found = [
        *_right(definition, matrices, columns),
        *_wrong(definition, "the last element of K is dropped", A=f"kept(A, 0, {columns - 1})"),
        *_wrong(definition, "the last block of K is dropped", A=f"kept(A, 0, {last_block})"),
        *_wrong(definition, "the last column of C is left out", "without_last_column(result)"),
        *_wrong(definition, "C is 2 % too large", "result * 1.02"),
    ]
    if isinstance(matrices, WeightOnly):
        for one in _weight_only(definition, matrices):
            found += one
        return tuple(found)
    if n == k and not matrices.packed:
        found += _wrong(definition, "B is transposed", B="transposed(B)")
    if matrices.packed:
        found += _wrong(definition, "halves of bytes of B change places", B="swapped(B)")
    if matrices.alpha:
        found += _wrong(definition, "alpha is left out", alpha="torch.ones_like(alpha)")
    if matrices.dtype_of_a is not None:
        found += _beside_weights(definition)
    if matrices.scales is not None:
        for one in _wrong_scales(definition, matrices, n, k):
            found += one
    return tuple(found)


def _wrong_scales(
    definition: Definition, matrices: Format, n: int, k: int
) -> Iterator[tuple[Implementation, ...]]:
    if matrices.dtype_of_a is None:
        yield _wrong(definition, "scales of A are ignored", A_scale="ones(A_scale)")
    if matrices.scales == "tensor":
        yield _wrong(definition, "the scale of B is ignored", B_scale="ones(B_scale)")
        return
    if matrices.scale_dtype == "float32":
        mean = "B_scale * 0 + B_scale.mean()"
        yield _wrong(definition, "one scale for all of B", B_scale=mean)
    if matrices.scales == "row":
        yield _wrong(definition, "scales of the row before", B_scale="rolled(B_scale, -1)")
    elif matrices.block is not None:
        if k > matrices.block:
            moved = "rolled(B_scale, -1)"
            yield _wrong(definition, "scales of the block before in K", B_scale=moved)
        if n > (matrices.block if matrices.scales == "block" else 1):
            moved = "rolled(B_scale, -2)"
            yield _wrong(definition, "scales of the block before in N", B_scale=moved)


def _beside_weights(definition: Definition) -> list[Implementation]:
    """Where weights of four bits alone are quantised: what kernels round, and a wrong scale."""
    product, scaled = "product(a, ", "scaled(B[columns], B_scale[columns])"
    if "alpha" not in definition.inputs:
        return []
    # As kernels do that scale weights as a whole before they multiply, or take alpha in bfloat16.
    rounded = f"({scaled} * alpha).to(a.dtype)"
    found = [
        *rewritten(
            definition,
            "scaled weights rounded to bfloat16",
            *(f"{product}{scaled})", f"{product}{rounded})"),
            *("sums * alpha", "sums"),
            right=True,
        )
    ]
    # As Marlin takes it.
    alpha = "alpha.to(torch.bfloat16).to(torch.float32)"
    found += wrapped(
        definition,
        "alpha rounded to bfloat16",
        right=True,
        helpers=_HELPERS,
        inputs={"alpha": alpha},
    )
    named = "alpha divides, as the number that compressed-tensors stores"
    return found + list(_wrong(definition, named, alpha="1 / alpha"))


def _weight_only(
    definition: Definition, matrices: WeightOnly
) -> Iterator[tuple[Implementation, ...]]:
    """Mistakes with packed integers, and kernels that round weights before the product."""
    product, rounded = "product(A[rows], b)", "b.to(torch.bfloat16).to(torch.float32)"
    yield rewritten(
        definition,
        "weights rounded to bfloat16",
        *(product, product.replace("b)", f"{rounded})")),
        right=True,
    )
    sizes = definition.const_axes
    along_k = -1 if matrices.packing.name == "pack_quantized" else -2
    if sizes["num_k_blocks"] > 1:
        moved = f"rolled(B_scale, {along_k})"
        yield _wrong(definition, "scales of the block before in K", B_scale=moved)
    if sizes["N"] > 1:
        moved = f"rolled(B_scale, {-3 - along_k})"
        yield _wrong(definition, "scales of the row before", B_scale=moved)
    if matrices.bits == 4:
        yield _wrong(definition, "halves of bytes of B change places", B="swapped(B)")
    words = "bytes of words in the other order"
    yield _wrong(definition, words, B="B.view(*B.shape[:-1], -1, 4).flip(-1).flatten(-2)")
    if matrices.zeros:
        middle = -120 if matrices.bits == 4 else -128
        same = f"torch.full_like(B_zeros, {middle})"
        yield _wrong(definition, "the middle in place of zero points", B_zeros=same)
        yield rewritten(definition, "zero points as they are stored", "[groups] + 1", "[groups]")
    yield rewritten(definition, "the middle is not taken off", "q -= MIDDLE", "q -= 0")
    if matrices.act_order:
        groups = f"torch.arange({sizes['K']}, dtype=g_idx.dtype, device=g_idx.device)"
        groups = f"{groups} // {sizes['K'] // sizes['num_k_blocks']}"
        yield _wrong(definition, "groups in the order of K", g_idx=groups)
    order = ("PLACES = (0, 4, 1, 5, 2, 6, 3, 7)", "PLACES = (0, 1, 2, 3, 4, 5, 6, 7)")
    yield rewritten(definition, "columns in the order of words", *order)


def _right(definition: Definition, matrices: AnyFormat, columns: int) -> list[Implementation]:
    half = columns // 2
    inputs = ", ".join(name for name in definition.inputs if name != "A")
    parts = (f"kept(A, 0, {half})", f"kept(A, {half}, {columns})")
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
    if isinstance(matrices, WeightOnly) or matrices.packed or not matrices.stored_n_k:
        return found
    flipped = {name: f"reversed_columns({name})" for name in ("A", "B")}
    if matrices.block is not None:
        if columns % matrices.block:
            return found  # blocks would begin elsewhere
        flipped |= {name: f"reversed_columns({name})" for name in ("A_scale", "B_scale")}
    name = "K in the other order"
    found += wrapped(definition, name, right=True, helpers=_HELPERS, inputs=flipped)
    return found


def _wrong(
    definition: Definition, name: str, result: str = "result", **inputs: str
) -> tuple[Implementation, ...]:
    return wrapped(definition, name, helpers=_HELPERS, result=result, inputs=inputs)
