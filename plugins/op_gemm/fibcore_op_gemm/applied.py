"""Products in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

Of formats with scales those that FlashInfer takes as they are; mm_fp4 and mm_mxfp8 take scales in
tiles of 128 x 4 and mm_fp8 shuffled weights, as GPUs of compute capability 10 want them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from fibcore.plugin import (
    CALLED,
    Applied,
    Definition,
    TensorSpec,
    scalar,
    tensor,
    trace_apply_format,
)
from fibcore_op_gemm import formats
from fibcore_op_gemm.formats import FP8, Format
from fibcore_op_gemm.names import OP_TYPE, SHAPES

MM_BF16 = '''
def apply(A, B):
    """As `flashinfer.mm_bf16` is called: B is [K, N], and C of the dtype that is asked for."""
    dtype = called(bias=(None,))["out_dtype"]
    if dtype == torch.float32:
        A, B = A.float(), B.float()
    return run(A, B.T).to(dtype)
'''

TINYGEMM = '''
def apply(input, weight, out, bias=None, use_pdl=False):
    """As `flashinfer.gemm.tinygemm_bf16` is called, which adds a bias before it rounds."""
    if bias is None:
        return run(input, weight)
    return (run(input.float(), weight.float()) + bias.float()).to(out.dtype)
'''

ROUTER = '''
def apply(mat_a, mat_b, out):
    """As FlashInfer's products of routers are called: B is [K, N], and `out` float32."""
    return run(mat_a.float(), mat_b.T.float()).to(out.dtype)
'''

BATCHED = '''
def apply(A, B):
    """As `flashinfer.bmm_bf16` is called: C is of the dtype that is asked for."""
    dtype = called()["out_dtype"]
    if dtype == torch.float32:
        A, B = A.float(), B.float()
    return run(A, B).to(dtype)
'''

E4M3 = '''
def e4m3(*tensors):
    """Refuse tensors of another dtype than the reference's."""
    for tensor in tensors:
        if tensor.dtype != torch.float8_e4m3fn:
            raise RuntimeError(f"called with {tensor.dtype}; this solution is for float8_e4m3fn")
'''

BATCHED_FP8 = '''
def apply(A, B, A_scale, B_scale, dtype):
    """As `flashinfer.bmm_fp8` is called: each scale has one element."""
    e4m3(A, B)
    return run(A, B, A_scale.reshape(1), B_scale.reshape(1)).to(dtype)
'''

ONE_FP8 = '''
def apply(A, B, A_scale, B_scale, dtype):
    """As `flashinfer.bmm_fp8` is called with one matrix: each scale has one element."""
    e4m3(A, B)
    if A.shape[0] != 1:
        raise RuntimeError(f"called with {A.shape[0]} matrices; this solution is for one")
    return run(A[0], A_scale.reshape(1), B[0].T, B_scale.reshape(1))[None].to(dtype)
'''

GROUPWISE = '''
def row_first(scale, rows, blocks, mode):
    """A scale [rows, blocks], whichever way it lies."""
    if mode is None:
        fits = (scale.shape == (rows, blocks), scale.shape == (blocks, rows))
        if sum(fits) != 1:
            raise RuntimeError(f"nothing says which way a scale of {tuple(scale.shape)} lies")
        mode = "K" if fits[0] else "MN"
    return (scale if mode == "K" else scale.T).contiguous()


def apply(a, b, a_scale, b_scale):
    """As `flashinfer.gemm.gemm_fp8_nt_groupwise` is called: scales lie as `scale_major_mode` says.

    The backend trtllm has no such argument; there their shapes say it, or nothing does.
    """
    e4m3(a, b)
    namespace = called(scale_granularity_mnk=((1, 128, 128), [1, 128, 128]))
    mode = namespace["scale_major_mode"] or {"cutile": "K"}.get(namespace["backend"])
    blocks = -(-a.shape[1] // 128)
    a_scale = row_first(a_scale, a.shape[0], blocks, mode)
    b_scale = row_first(b_scale, -(-b.shape[0] // 128), blocks, mode)
    return run(a, a_scale, b, b_scale).to(namespace["out_dtype"] or torch.bfloat16)
'''

BLOCKSCALE = '''
def apply(input, weight, input_scale=None, weight_scale=None):
    """As `flashinfer.gemm.fp8_blockscale_gemm_sm90` is called: it quantises a bfloat16 input."""
    namespace = called()
    e4m3(weight)
    if input_scale is None:
        groups = input.float().unflatten(-1, (-1, 128))
        largest = groups.abs().amax(-1)
        input_scale = torch.where(largest > 0, largest / 448, 1.0)
        input = (groups / input_scale[..., None]).flatten(-2).to(torch.float8_e4m3fn)
    e4m3(input)
    if weight_scale.shape != (-(-weight.shape[0] // 128), weight.shape[1] // 128):
        raise RuntimeError("called with a scale for each row; this solution is for blocks")
    return run(input, input_scale, weight, weight_scale).to(
        namespace["out_dtype"] or torch.bfloat16
    )
'''

_ROUTERS = ((7168, 256), (6144, 256))
"""K and N of the products of routers that have a template."""


def _applied(definition: Definition) -> Sequence[Applied] | str:
    axes = definition.const_axes
    if not {"N", "K"} <= set(axes):
        return "FlashInfer's trace templates have no such product"
    n, k = axes["N"], axes["K"]
    for matrices, made in _MADE.items():
        if definition.name == f"{matrices.name}_n_{n}_k_{k}":
            return tuple(made(n, k))
    if set(definition.inputs) == {"A", "B"} and set(axes) == {"N", "K"}:
        return tuple(_plain(n, k))  # by another spelling
    return "FlashInfer takes its scales in tiles, or has no such product"


def _plain(n: int, k: int) -> Iterator[Applied]:
    own = {"A": tensor("M K", "bfloat16"), "B": tensor("K N", "bfloat16")}
    out = {"C": tensor("M N", "bfloat16")}
    yield _made(f"gemm_bf16_N{n}_K{k}", "gemm_base.mm_bf16", own, out, CALLED, MM_BF16)
    tiny = {
        "input": tensor("M K", "bfloat16"),
        "weight": tensor("N K", "bfloat16"),
        "out": tensor("M N", "bfloat16"),
        "bias": tensor("N", "bfloat16"),
        "use_pdl": scalar("bool"),
    }
    written = {"out": tensor("M N", "bfloat16")}
    yield _made(f"tinygemm_bf16_n{n}_k{k}", "routergemm.tinygemm_bf16", tiny, written, TINYGEMM)
    if (k, n) in _ROUTERS:
        router = {
            "mat_a": tensor("M K", "bfloat16"),
            "mat_b": tensor("K N", "bfloat16"),
            "out": tensor("M N", "float32"),
        }
        stem = f"mm_M1_16_K{k}_N{n}"
        scores = {"out": tensor("M N", "float32")}
        yield _made(f"{stem}_k{k}_n{n}", f"routergemm.{stem}", router, scores, ROUTER)


def _batched(n: int, k: int) -> Iterator[Applied]:
    inputs = {"A": tensor("batch_size M K", "bfloat16"), "B": tensor("batch_size K N", "bfloat16")}
    out = {"C": tensor("batch_size M N", "bfloat16")}
    yield _made(f"bmm_bf16_N{n}_K{k}", "gemm_base.bmm_bf16", inputs, out, CALLED, BATCHED)


def _tensor_scale(body: str) -> Callable[[int, int], Iterator[Applied]]:
    def made(n: int, k: int) -> Iterator[Applied]:
        inputs = {
            "A": tensor("batch_size M K", FP8),
            "B": tensor("batch_size K N", FP8),
            "A_scale": tensor("scalar", "float32"),
            "B_scale": tensor("scalar", "float32"),
            "dtype": scalar("int32"),
        }
        out = {"C": tensor("batch_size M N", "bfloat16")}
        yield _made(f"bmm_fp8_N{n}_K{k}", "gemm_base.bmm_fp8", inputs, out, E4M3, body)

    return made


def _blocks(n: int, k: int) -> Iterator[Applied]:
    for function, names in (
        ("gemm_fp8_nt_groupwise", ("a", "b", "a_scale", "b_scale")),
        ("fp8_blockscale_gemm_sm90", ("input", "weight", "input_scale", "weight_scale")),
    ):
        a, b, a_scale, b_scale = names
        inputs = {
            a: tensor("M K", FP8),
            b: tensor("N K", FP8),
            a_scale: tensor("M num_k_blocks", "float32"),
            b_scale: tensor("num_n_blocks num_k_blocks", "float32"),
        }
        out = {"out": tensor("M N", "bfloat16")}
        body = GROUPWISE if a == "a" else BLOCKSCALE
        place = f"gemm_base.{function}"
        yield _made(f"{function}_n{n}_k{k}", place, inputs, out, CALLED, E4M3, body)


def _made(
    name: str,
    function: str,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    *source: str,
) -> Applied:
    """What stands in for one function; `out` is a tensor of the caller where it is an input."""
    return Applied(
        name=name,
        op_type=function.rpartition(".")[2],
        fi_api=f"flashinfer.gemm.{function}",
        inputs=inputs,
        outputs=outputs,
        source="\n\n\n".join(text.strip() for text in source),
        written={"out": "out"} if "out" in inputs else {},
        optional=frozenset({"bias", "use_pdl", "input_scale", "weight_scale"} & set(inputs)),
    )


_MADE: Mapping[Format, Callable[[int, int], Iterator[Applied]]] = {
    formats.PLAIN: _plain,
    formats.BMM_BF16: _batched,
    formats.BMM_FP8: _tensor_scale(BATCHED_FP8),
    formats.FP8_TENSOR: _tensor_scale(ONE_FP8),
    formats.FP8_BLOCK: _blocks,
}

FORMATS = (trace_apply_format((OP_TYPE,), _applied, {SHAPES.name: "rank"}),)
"""The formats that this plugin writes here."""
