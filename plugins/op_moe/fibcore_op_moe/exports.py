"""Routed experts in the formats of tuners: one entry of `FORMATS` each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from fibcore.plugin import (
    Device,
    Exported,
    ExportedFile,
    ExportFormat,
    ExportRequest,
    ServedKernel,
    amd_fp8,
    csv_text,
    json_text,
    testlist,
)
from fibcore_op_moe.activations import SWIGLU
from fibcore_op_moe.formats import (
    BF16,
    BLOCK,
    FP8_BLOCK,
    FP8_CHANNEL,
    FP8_TENSOR,
    INT8_CHANNEL,
    WeightFormat,
)
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.names import OP_TYPE


@attrs.frozen
class Tuned:
    """What a tuned config of a fused kernel is for, all on one rank.

    Attributes:
        experts: Experts whose weights the kernel has, fused shared ones among them.
        intermediate: Rows of an expert's up projection.
        dtype: What the kernel calls the format; None for unquantised weights.
        blocks: Whether a scale covers a block of `BLOCK` x `BLOCK` weights.
        channels: Whether a scale covers an output channel.
    """

    experts: int
    intermediate: int
    dtype: str | None
    blocks: bool
    channels: bool


def tuned(served: ServedKernel, *, with_shared: bool) -> Tuned | None:
    """The config that the fused Triton kernel wants; None where it has no such weights.

    Args:
        served: Routed experts of a model.
        with_shared: Whether shared experts may be fused into the kernel, as SGLang does it.
    """
    moe = Moe.from_parameters(served.kernel.parameters)
    known, dtype = _dtype(moe.weights)
    if not known:
        return None
    return Tuned(
        experts=moe.num_local_experts + (_shared(served) if with_shared else 0),
        intermediate=moe.intermediate_size,
        dtype=dtype,
        blocks=moe.weights.block_scaled,
        channels=str(moe.weights.scheme) == "channel",
    )


def _shared(served: ServedKernel) -> int:
    """Shared experts that SGLang fuses into the kernel."""
    fused = served.kernel.facts.get("num_fused_shared_experts")
    return 0 if fused is None else int(fused.value)


def _dtype(weights: WeightFormat) -> tuple[bool, str | None]:
    """Whether the fused Triton kernel has these weights, and what it calls them."""
    if weights.packed:
        return False, None
    if weights.scheme is None:
        return True, None
    names = {"float8_e4m3fn": "fp8_w8a8", "int8": "int8_w8a8"}
    return weights.dtype in names, names.get(weights.dtype)


def sglang_name(config: Tuned, device: str) -> str:
    """The file in which SGLang looks for a config.

    Args:
        config: What it is for.
        device: What the driver calls the GPU.
    """
    blocks = f",block_shape=[{BLOCK}, {BLOCK}]" if config.blocks else ""
    return _name(config, device, blocks + ",per_channel_quant=True" * config.channels)


def vllm_name(config: Tuned, device: str) -> str:
    """The file in which vLLM (0.33) looks for a config; arguments as of `sglang_name`.

    Its names have no blanks, no word for int8 weights with int8 activations, and one for all H200.
    """
    if "H200" in device.split():
        device = "NVIDIA H200"
    if config.dtype == "int8_w8a8":
        config = attrs.evolve(config, dtype=None)
    return _name(config, device, f",block_shape=[{BLOCK},{BLOCK}]" if config.blocks else "")


def _name(config: Tuned, device: str, end: str) -> str:
    where = device.replace(" ", "_")
    dtype = f",dtype={config.dtype}" if config.dtype else ""
    return f"E={config.experts},N={config.intermediate},device_name={where}{dtype}{end}.json"


@attrs.frozen
class _Keys:
    """Writes the keys of one consumer.

    Attributes:
        name: Makes a file's name.
        file: The file that they are written to.
        with_shared: Whether the consumer fuses shared experts into the kernel.
    """

    name: Callable[[Tuned, str], str]
    file: str
    with_shared: bool

    def write(self, request: ExportRequest) -> Exported:
        """Keys for every model and GPU, those of several models once, and which are not shipped."""
        columns = ("gpu", "E", "N", "shipped", "models", "key")
        found: dict[tuple[Device, Tuned], dict[str, None]] = {}
        left_out: dict[str, str] = {}
        for served in request.kernels:
            config = tuned(served, with_shared=self.with_shared)
            if config is None:
                weights = served.kernel.parameters["weights"]
                left_out[served.definition.name] = f"{weights} weights have other kernels"
                continue
            for device in request.devices:
                found.setdefault((device, config), {})[_label(served)] = None
        rows = tuple(
            (
                *(device.name, config.experts, config.intermediate),
                _shipped(request, self.name(config, device.reported)),
                " ".join(models),
                self.name(config, device.reported),
            )
            for (device, config), models in found.items()
        )
        data = [dict(zip(columns, row, strict=True)) for row in rows]
        files = (ExportedFile(self.file, json_text(data)),) if rows else ()
        gaps = tuple(str(row[-1]) for row in rows if row[3] == "no")
        return Exported(files, columns, rows, left_out, gaps)


def _label(served: ServedKernel) -> str:
    return f"{served.model}@tp{served.serving.tp}ep{served.serving.ep}"


def _shipped(request: ExportRequest, key: str) -> str:
    if request.shipped is None:
        return "unknown"
    return "yes" if key in request.shipped else "no"


def _deepgemm(request: ExportRequest) -> Exported:
    columns = ("function", "groups", "M", "N", "K")
    rows: dict[tuple[str | int, ...], None] = {}
    left_out: dict[str, str] = {}
    for served in request.kernels:
        moe = Moe.from_parameters(served.kernel.parameters)
        if not moe.weights.block_scaled:
            left_out[served.definition.name] = f"DeepGEMM has no {moe.weights.name} weights"
            continue
        width = served.definition.const_axes["gemm1_out_size"]
        rows.update(dict.fromkeys(_products(moe, width, request)))
    files = (ExportedFile("deepgemm_grouped.csv", csv_text(columns, rows)),) if rows else ()
    return Exported(files, columns, tuple(rows), left_out)


def _products(moe: Moe, width: int, request: ExportRequest) -> Iterator[tuple[str | int, ...]]:
    """Both products of the experts at rows of all experts together, tokens times top k.

    The first one has `width` columns: those of the gate, where there is one, and of the other half.
    """
    for tokens in request.rows:
        for n, k in (
            (width, moe.hidden_size),
            (moe.hidden_size, moe.intermediate_size),
        ):
            rows = tokens * moe.top_k
            yield "m_grouped_fp8_gemm_nt_contiguous", moe.num_local_experts, rows, n, k


def _testlist(request: ExportRequest) -> Exported:
    lines: list[str] = []
    left_out: dict[str, str] = {}
    for served in request.kernels:
        moe = Moe.from_parameters(served.kernel.parameters)
        name = served.definition.name
        routing = _ROUTING.get(moe.routing.name)
        plain = moe.activation == SWIGLU and not moe.biased
        if not moe.weights.block_scaled or routing is None or not plain:
            left_out[name] = "FlashInfer's benchmark has no routine for it"
            continue
        groups = ""
        if moe.routing.grouped:
            factor = served.kernel.facts["routed_scaling_factor"].value
            groups = (
                f" --n_group {moe.num_groups} --topk_group {moe.top_groups}"
                f" --routed_scaling_factor {factor} --use_routing_bias"
            )
        local = f" --local_num_experts {moe.num_local_experts}" if moe.remote_experts else ""
        lines += (
            f"--routine trtllm_fp8_block_scale_moe --num_tokens {tokens}"
            f" --hidden_size {moe.hidden_size} --intermediate_size {moe.intermediate_size}"
            f" --num_experts {moe.num_experts} --top_k {moe.top_k}{local}{groups}"
            f" --routing_method {routing} --case_tag {name}"
            for tokens in request.rows
        )
    return testlist("testlist_moe.txt", lines, left_out)


# -- aiter: its list of untuned fused MoE kernels, aiter/configs/untuned_fmoe.csv ----------------

_AITER_COLUMNS = (
    *("token", "model_dim", "inter_dim", "expert", "topk", "act_type", "dtype"),
    *("q_dtype_a", "q_dtype_w", "q_type", "use_g1u1", "doweight_stage1"),
)
# What a scale covers, for its tuner.
_AITER_SCALES = {
    BF16: "No",
    FP8_BLOCK: "per_1x128",
    FP8_CHANNEL: "per_Token",
    FP8_TENSOR: "per_Tensor",
    INT8_CHANNEL: "per_Token",
}
# As SGLang's `_aiter_activation` has it; without a gate its tuner has no kernel.
_AITER_ACTIVATIONS = {"swiglu": "Silu", "gelu": "Gelu", "gelu_tanh": "Gelu"}


def _aiter(request: ExportRequest) -> Exported:
    lines: dict[tuple[str | int, ...], None] = {}
    left_out: dict[str, str] = {}
    for served in request.kernels:
        moe = Moe.from_parameters(served.kernel.parameters)
        if _AITER_ACTIVATIONS.get(moe.activation.name) is None or moe.biased:
            left_out[served.definition.name] = "aiter's tuner has no such activation"
        elif moe.weights not in _AITER_SCALES:
            left_out[served.definition.name] = f"aiter's tuner has no {moe.weights.name} weights"
        else:
            lines.update(dict.fromkeys(_aiter_lines(served, moe, request)))
    files = (ExportedFile("untuned_fmoe.csv", csv_text(_AITER_COLUMNS, lines)),) if lines else ()
    rows = tuple((file.path, " ".join(map(str, line))) for file in files for line in lines)
    return Exported(files, ("file", "line"), rows, left_out)


def _aiter_lines(
    served: ServedKernel, moe: Moe, request: ExportRequest
) -> Iterator[tuple[str | int, ...]]:
    """A token runs through the shared experts that SGLang fuses, too."""
    shared = _shared(served)
    fp8 = moe.weights.dtype.startswith("float8")
    for dtype in amd_fp8(request.devices) if fp8 else (f"torch.{moe.weights.dtype}",):
        for tokens in request.rows:
            yield (
                *(tokens, moe.hidden_size, moe.intermediate_size),
                *(moe.num_local_experts + shared, moe.top_k + shared),
                f"ActivationType.{_AITER_ACTIVATIONS[moe.activation.name]}",
                *("torch.bfloat16", dtype, dtype, f"QuantType.{_AITER_SCALES[moe.weights]}"),
                *(1, int(moe.routing.weight_on_input)),
            )


# What FlashInfer's benchmark calls routings.
_ROUTING = {
    "ds_routing": "deepseek_v3",
    "renorm": "renormalize",
    "default_routing": "topk",
    "llama4_routing": "llama4",
}

FORMATS = (
    ExportFormat(
        "sglang-moe",
        "keys of SGLang's tuned fused MoE kernels, and which it ships",
        (OP_TYPE,),
        _Keys(sglang_name, "sglang_moe_keys.json", with_shared=True).write,
        consumer="sglang",
    ),
    ExportFormat(
        "vllm-moe",
        "keys of vLLM's tuned fused MoE kernels, and which its source ships",
        (OP_TYPE,),
        _Keys(vllm_name, "vllm_moe_keys.json", with_shared=False).write,
        consumer="vllm",
    ),
    ExportFormat("aiter", "AMD aiter's lists of untuned GEMMs and experts", (OP_TYPE,), _aiter),
    ExportFormat("deepgemm", "DeepGEMM's sizes and groups", (OP_TYPE,), _deepgemm),
    ExportFormat(
        "flashinfer-testlist",
        "lines for FlashInfer's benchmark, one a case",
        (OP_TYPE,),
        _testlist,
    ),
)
"""The formats that this plugin writes."""
