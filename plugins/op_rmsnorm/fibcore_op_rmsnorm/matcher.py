"""Finds the RMSNorm kernels of a model: which norm each layer is, and how it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

from fibcore.plugin import (
    Call,
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ModuleRef,
    Named,
    Operation,
    ParameterRef,
    Serving,
    UndecidedError,
    Unknown,
    decided,
    fact,
    linear_attention_dtype,
    possible_values,
)
from fibcore_op_rmsnorm.names import OP_TYPE, function_name, kernel_name

_LAYERS = "sglang.srt.layers.layernorm."
_MODELS = "sglang.srt.models."

# Classes whose constructor takes RMSNorm's arguments (or a part of them) and that compute
# x / rms(x) * weight. The ones of models only reshape around it.
_PLAIN = frozenset(
    {
        _LAYERS + "RMSNorm",
        _MODELS + "glm4v.Glm4vRMSNorm",
        _MODELS + "glm_ocr.GlmOcrRMSNorm",
        _MODELS + "gemma3n_causal.Gemma3nRMSNorm",
    }
)
# Models' own classes that compute the same in torch, or with a kernel of their choice.
_OWN = frozenset(
    {
        _MODELS + "embedding_gemma2.EmbeddingGemma2RMSNorm",
        _MODELS + "inkling_common.norm.RMSNorm",
        _MODELS + "iquest_q1.IQuestQ1RMSNorm",
        "sglang.srt.layers.muse_spark.muse_spark_audio.RMSNorm",
        # What it adds to its weight it adds once, when that is loaded.
        "sglang.srt.layers.muse_spark.muse_spark_layers.MuseSpark1xRMSNorm",
        "torch.nn.RMSNorm",
    }
)
# The same, rounded before the weight is applied.
_ROUNDING = frozenset({_MODELS + "dots_vlm_vit.RMSNorm"})
# x / rms(x).
_WEIGHTLESS = frozenset({_LAYERS + "RMSNormWithoutScale"})
# x / rms(x) * (1 + weight).
_GEMMA = frozenset({_LAYERS + "GemmaRMSNorm", _LAYERS + "Gemma3RMSNorm"})
# Plain or Gemma, by its argument scale_shift (0 or 1).
_SHIFTED = _LAYERS + "Gemma4RMSNorm"

# Norms of linear attention and state spaces: x / rms(x) * weight, times an activation of a gate.
_GATED = re.compile(r"\.(layernorm_gated|fused_norm_gate)\.|Gated?$|Gated\w*Norm$")
# Those of linear attention and of Mamba 2, and what derives from them: another op type.
_ELSEWHERE = re.compile(r"\.(layernorm_gated\.RMSNorm|FusedRMSNormGated|Mixer2RMSNormGated)$")
_GATE = "it multiplies by an activation of a gate; the op type has no such kernel"
# Norms of rows that tensor parallelism splits.
_SPLIT = re.compile(r"RMSNorm(TP|Sharded)$")
_SUM_OVER_RANKS = (
    "its mean square is over a row that the ranks share; the op type has no such kernel"
)
_NORM_NAME = re.compile(r"RMSNorm|L2Norm|Norm$|NormGated?$")
# They take the mean off, and are another op type.
_CENTRED = re.compile(r"(Layer|Group|Batch|Instance)Norm")

# Methods of a norm that quantise what they normalise: another kernel.
_QUANTISING = ("forward_with_per_tensor_quant_fusion",)
# A function that is given a norm's weight and normalises rows, no more.
_ALONE = "layernorm_fn"
# Does nothing but return None on CUDA; the model then calls another method.
_IGNORED = ("forward_with_allreduce_fusion_quant_per_group",)


# What a router of Gemma 4 has that writes its own scale into the norm that it holds.
_FOLDS = "_scale_fused"
# What one has, on older releases, that multiplies by that scale what the norm has made.
_SCALES = "_fused_scale"
_OWN_SCALE = "it multiplies what a norm gives by its own weight; the op type has no such kernel"
# Attention of towers, whose norms of queries and keys it calls itself.
_TOWERS = "VisionAttention"
# What SGLang's modules that are one kernel derive from.
_FUSED_OP = "BaseFusedOp"
_ONES = "it has no weight: the kernel's is all ones"
_ROUNDED = "rounds to the activations' dtype before the weight is applied"


class _OtherFunction(Exception):
    """The module computes something that is not this kernel."""


@attrs.frozen
class _Norm:
    """What a norm's constructor says: row length, epsilon, weight or 1 + weight."""

    hidden_size: int
    eps: float
    gemma: bool
    notes: tuple[str, ...] = ()


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The RMSNorm kernels of `tree`, with every layer that runs each.

    A norm counts as fused-add where the forward pass hands it a residual, as plain where it does
    not, and as both where both happen. Tensor and expert parallelism change no definition: a
    kernel that sums over ranks and normalises is a collective, and is named where those are.
    """
    found = KernelCollector(lenient=("eps",))
    fused = _fused_functions(tree)
    folded = {path for operation in tree.operations for path in _folded(operation)}
    for node in tree.walk():
        if _is_norm(node):
            holder = tree.parent(node.path)
            _match(node, tree, fused.get(node.path, ()), found, is_folded=node.path in folded)
            if holder is not None and _FOLDS in holder.attributes:
                found.claim(holder)
            elif holder is not None and _SCALES in holder.attributes:
                found.not_covered("scale of a router's rows", _OWN_SCALE, holder)
    return found.finish()


def _fused_functions(tree: ModelTree) -> dict[str, tuple[str, ...]]:
    """Path of a module to the functions that the forward pass hands its parameters to.

    Modules that are one fused kernel each are such functions: they are constructed with the norms
    whose weights they read. So are building blocks that are called with a norm: Muse-Spark's
    experts normalise what they quantise.
    """
    functions: dict[str, dict[str, None]] = {}
    for operation in tree.operations:
        for value in (*operation.args, *operation.kwargs.values()):
            for one in possible_values(value):
                # Elementwise operations of torch are steps of something, and no kernel's name.
                if isinstance(one, ParameterRef) and not operation.function.startswith("torch."):
                    owner = one.path.rpartition(".")[0]
                    functions.setdefault(owner, {})[operation.function.rpartition(".")[2]] = None
    for node in tree.walk():
        if node.calls and node.is_a(_FUSED_OP):
            for value in node.arguments.values():
                for one in possible_values(value):
                    if isinstance(one, ModuleRef):
                        functions.setdefault(one.path, {})[node.class_name] = None
        elif node.leaf:  # into what it does with a norm that it is handed nobody looks
            for call in node.calls:
                for value in (*call.args, *call.kwargs.values()):
                    if isinstance(value, ModuleRef) and value.path != node.path:
                        functions.setdefault(value.path, {})[node.class_name] = None
    return {
        path: tuple(name for name in names if name.isidentifier())
        for path, names in functions.items()
    }


def _folded(operation: Operation) -> Iterator[str]:
    """The modules whose weights an operation multiplies by each other, element by element."""
    values = operation.args
    if operation.function == "torch.mul" and all(isinstance(v, ParameterRef) for v in values):
        owners = {value.path.rpartition(".")[0] for value in values}
        if len(owners) > 1:  # a weight and its own scale are one layer's
            yield from owners


def _is_norm(node: ModuleNode) -> bool:
    if {node.cls, *node.bases} & {*_PLAIN, *_GEMMA, _SHIFTED, *_WEIGHTLESS}:
        return True
    if node.children or _NORM_NAME.search(node.class_name) is None:
        return False
    if any(_ELSEWHERE.search(cls) for cls in (node.cls, *node.bases)):
        return False
    return _GATED.search(node.cls) is not None or _CENTRED.search(node.class_name) is None


def _match(
    node: ModuleNode,
    tree: ModelTree,
    fused_functions: tuple[str, ...],
    found: KernelCollector,
    *,
    is_folded: bool = False,
) -> None:
    try:
        norm = _read_constructor(node)
    except _OtherFunction as other:
        gated = "gated " * (str(other) == _GATE and "gate" not in node.class_name.lower())
        found.not_covered(gated + node.class_name, str(other), node)
        return
    except UndecidedError as why:
        found.problem(f"{node.class_name} kernel", str(why), node)
        return
    holder = tree.parent(node.path)
    plain, fused, quantised, doubts = _read_calls(node.calls)
    for is_used, fused_add in ((plain, False), (fused, True)):
        if is_used:
            found.add(_kernel(node, norm, fused_add=fused_add), node)
    if quantised:
        found.not_covered(
            f"{node.class_name} with quantised output",
            "it writes fp8; the op type has no such kernel",
            node,
        )
    if not node.calls and set(fused_functions) == {_ALONE} and holder is not None:
        dtype = linear_attention_dtype(f"{holder.path}.attn", tree) or "bfloat16"
        found.add(_kernel(node, norm, fused_add=False, dtype=dtype), node)
        return
    if not node.calls and fused_functions:
        for function in fused_functions:
            found.not_covered(
                f"{_name(norm, fused_add=False)} inside {function}",
                "one kernel computes it together with what comes before or after",
                node,
                inside=True,
            )
        return
    if not node.calls and is_folded:
        found.not_covered(
            f"{_name(norm, fused_add=False)} folded into another weight",
            "the forward pass does not call it; it multiplies its weight by another module's",
            node,
        )
        return
    if not node.calls and holder is not None and holder.is_a(_TOWERS):
        _of_tower(node, norm, holder, found)
        return
    if node.idle:
        found.not_covered(
            f"{_name(norm, fused_add=False)} that is not run",
            "the forward pass does not call it; another kernel may read its weight",
            node,
        )
        return
    if not node.calls or not (plain or fused or quantised or doubts):
        doubts = ["no call of it was found in the forward pass"]
    for doubt in doubts:
        found.problem(
            f"{_name(norm, fused_add=False)} or {_name(norm, fused_add=True)}", doubt, node
        )


def _of_tower(node: ModuleNode, norm: _Norm, holder: ModuleNode, found: KernelCollector) -> None:
    """A norm of a tower's queries or keys: its attributes say how attention applies it.

    `VisionAttention.forward` stands among the kernels of attention, and is not followed.
    """
    if holder.attributes.get("qk_normalization_by_head_size") is True:
        found.add(_kernel(node, norm, fused_add=False), node)
        return
    found.not_covered(
        f"{_name(norm, fused_add=False)} inside {_TOWERS}",
        "attention normalises queries and keys in one kernel, or first gathers what ranks have",
        node,
        inside=True,
    )


def _name(norm: _Norm, *, fused_add: bool) -> str:
    return kernel_name(norm.hidden_size, gemma=norm.gemma, fused_add=fused_add)


def _kernel(node: ModuleNode, norm: _Norm, *, fused_add: bool, dtype: str = "bfloat16") -> Kernel:
    api = function_name(gemma=norm.gemma, fused_add=fused_add)
    parameters: dict[str, int | float | str | bool] = {
        "hidden_size": int(norm.hidden_size),
        "eps": float(norm.eps),
        "gemma": norm.gemma,
        "fused_add": fused_add,
    }
    if dtype != "bfloat16":
        parameters["dtype"] = dtype
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(norm.hidden_size, gemma=norm.gemma, fused_add=fused_add, dtype=dtype),
        parameters=parameters,
        facts={
            "hidden_size": fact(norm.hidden_size, node, "elements of a row that is normalised"),
            "eps": fact(norm.eps, node, "added to the mean square, below the root"),
        },
        uses=(),
        # FlashInfer's kernels are for activations of 16 bits.
        tags=(
            *((f"fi_api:flashinfer.norm.{api}",) if dtype == "bfloat16" else ()),
            *(("fused",) if fused_add else ()),
        ),
        notes=norm.notes,
    )


# --- the constructor ---------------------------------------------------------------------------


def _read_constructor(node: ModuleNode) -> _Norm:
    """What the constructor's arguments say.

    Raises:
        _OtherFunction: the module is a norm, and not this one.
        UndecidedError: an argument is not known.
    """
    if node.cls in _PLAIN or node.cls in _OWN:
        return _Norm(_hidden(node), _eps(node), gemma=False, notes=_check_plain(node))
    if node.cls in _ROUNDING:
        return _Norm(_hidden(node), _eps(node), gemma=False, notes=(_ROUNDED,))
    if node.cls in _WEIGHTLESS:
        return _Norm(_hidden(node), _eps(node), gemma=False, notes=(_ONES,))
    if node.cls in _GEMMA:
        return _Norm(_hidden(node), _eps(node), gemma=True)
    if node.cls == _SHIFTED:
        if not _flag(node, "with_scale", default=True):
            # Its kernel is the plain one then, whatever is added to weights.
            return _Norm(_hidden(node), _eps(node), gemma=False, notes=(_ONES,))
        shift = decided(node.argument("scale_shift", 0.0), "scale_shift")
        if shift not in (0, 1):
            raise _OtherFunction(f"it multiplies by weight + {shift}")
        return _Norm(_hidden(node), _eps(node), gemma=shift == 1)
    if _GATED.search(node.cls):
        raise _OtherFunction(_GATE)
    if _SPLIT.search(node.cls):
        raise _OtherFunction(_SUM_OVER_RANKS)
    known = [b for b in node.bases if b in _PLAIN or b in _GEMMA or b == _SHIFTED]
    if known:
        raise _OtherFunction(
            f"{node.cls} derives from {known[0].rpartition('.')[2]} and may change what it computes"
        )
    raise _OtherFunction(f"{node.cls} is none of the norms that this plugin knows")


def _check_plain(node: ModuleNode) -> tuple[str, ...]:
    """Refuse an RMSNorm whose options change the function; notes on those that change rounding."""
    notes: list[str] = []
    flags = ("has_weight", "with_scale", "elementwise_affine")
    if not all(_flag(node, flag, default=True) for flag in flags):
        notes.append(_ONES)
    part = decided(node.argument("var_hidden_size", None), "var_hidden_size")
    if part is not None and part != _hidden(node):
        raise _OtherFunction(f"its mean square is over the first {part} elements of a row only")
    for name, what in (("weight_dtype", "weight"), ("override_orig_dtype", "output")):
        dtype = decided(node.argument(name, None), name)
        if dtype is None:
            continue
        if not isinstance(dtype, Named):
            raise UndecidedError(f"{name} is {dtype!r}")
        if dtype.name.rpartition(".")[2] not in ("bfloat16", "float16"):
            raise _OtherFunction(f"its {what} is {dtype.name.rpartition('.')[2]}")
    if _flag(node, "cast_x_before_out_mul", default=False):
        notes.append(_ROUNDED)
    return tuple(notes)


def _flag(node: ModuleNode, name: str, *, default: bool) -> bool:
    return bool(decided(node.argument(name, default), name))


def _hidden(node: ModuleNode) -> int:
    for name in ("hidden_size", "dim", "normalized_shape"):
        if name in node.arguments:
            value = decided(node.argument(name, None), name)
            if isinstance(value, (list, tuple)) and len(value) == 1:
                value = decided(value[0], name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UndecidedError(f"{name} is {value!r}, not a positive number")
            return value
    raise UndecidedError("its row length is not among the constructor's arguments")


def _eps(node: ModuleNode) -> float:
    value = decided(node.argument("eps", None), "eps")
    if value is None and node.cls == "torch.nn.RMSNorm":
        raise _OtherFunction("its epsilon is that of the activations' dtype")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UndecidedError(f"eps is {value!r}, not a small number")
    return value


# --- the calls ---------------------------------------------------------------------------------


def _read_calls(calls: Iterable[Call]) -> tuple[bool, bool, bool, list[str]]:
    """Whether calls are plain, fused-add, quantising; and what about them could not be decided."""
    plain = fused = quantised = False
    doubts: list[str] = []
    for call in calls:
        if call.method in _IGNORED or not re.match(r"forward|__call__$", call.method):
            continue
        if call.method in _QUANTISING:
            quantised = True
            continue
        # RMSNorm.forward(x, residual=None, ...), and so the methods that stand for it.
        for residual in possible_values(call.argument(1, "residual")):
            if residual is None:
                plain = True
            elif isinstance(residual, Unknown) and not residual.is_tensor:
                doubts.append(f"whether it gets a residual: {residual} in the call at {call.place}")
            else:
                fused = True
    return plain, fused, quantised, list(dict.fromkeys(doubts))
