"""Finds the rotary position embeddings of a model: what each layer turns, and how it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.plugin import (
    Alternatives,
    Call,
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ModuleRef,
    ParameterRef,
    Serving,
    UndecidedError,
    Unknown,
    decided,
    decided_size,
    fact,
    kernels_of_indexer,
    possible_values,
)
from fibcore_op_rope.functions import add_functions, add_towers, gives_angles, turned_by_functions
from fibcore_op_rope.names import API, GPTJ, NEOX, OP_TYPE, kernel_name, mrope_name

_LAYERS = "sglang.srt.layers.rotary_embedding."

# Classes of SGLang that turn all of q and k by one row of a table, and how the table is scaled.
_SCALINGS = {
    "RotaryEmbedding": "none",
    "LinearScalingRotaryEmbedding": "linear",
    "DynamicNTKScalingRotaryEmbedding": "NTK",
    "DynamicNTKAlphaRotaryEmbedding": "NTK",
    "YaRNScalingRotaryEmbedding": "YaRN",
    "DeepseekScalingRotaryEmbedding": "YaRN",
    "Llama3RotaryEmbedding": "Llama 3",
    "Phi3LongRoPEScaledRotaryEmbedding": "LongRoPE",
    "Gemma4RotaryEmbedding": "angle 0 but for the first pairs",
    # Of several positions a token.
    "MRotaryEmbedding": "none",
    "YaRNScalingMRotaryEmbedding": "YaRN",
}
_SECTIONS = "a token has several positions, each of which turns some of the pairs"
_SECTIONED = ("MRotaryEmbedding", "YaRNScalingMRotaryEmbedding")
_OTHERS = {
    "Ernie4_5_VLRotaryEmbedding": _SECTIONS,
    "BailingMRotaryEmbedding": _SECTIONS,
    "DualChunkRotaryEmbedding": "it turns every query by five tables",
    "FourierRotaryEmbedding": "every key head has a table of its own, made of learned coefficients",
    "Llama4VisionRotaryEmbedding": "it turns by the rows and columns of patches, without positions",
}
_UNKNOWN_CLASS = "it is none of the rotary embeddings that this plugin knows"
_NAME = re.compile(r"Rotary\w*Emb|R[Oo][Pp][Ee]\w*(Emb|2D)")

# A layer that may write the KV cache on the way or not does it in one kernel or the other.
_CHOICE = "rotation of queries and keys"

_TURNING = re.compile(r"forward(_cuda|_native)?$|__call__$")
# Gives the rows of the table that somebody else turns by.
_TABLE = re.compile(r"get_cos_sin$|get_cos_sin_cache$|get_cos_cached_total$|get_sin_cached_total$")
_FUSED = re.compile(r"rope|rotary", re.IGNORECASE)


class _OtherFunction(Exception):
    """The module computes something that is not this kernel."""


@attrs.frozen
class _Rope:
    """What a constructor says."""

    style: str
    head_size: int
    rotary_dim: int
    turned: str
    """How rotary_dim follows."""
    scaling: str
    sections: tuple[int, ...] = ()
    """Pairs that each of a token's positions turns; empty where a token has one."""
    interleaved: bool = False

    @property
    def name(self) -> str:
        if self.sections:
            return mrope_name(
                self.style,
                self.head_size,
                self.rotary_dim,
                self.sections,
                interleaved=self.interleaved,
            )
        return kernel_name(self.style, self.head_size, self.rotary_dim)


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The rotary position embeddings of `tree`, with every layer that runs each.

    Scalings of angles and lengths are in the table, which is an input: they change no kernel.
    Heads are variable, so neither do tensor and expert parallelism.
    """
    found = KernelCollector(lenient=("scaling",))
    add_functions(tree, found)
    towers = add_towers(tree, found)
    by_functions = turned_by_functions(tree)
    fused = _fused_functions(tree)
    for node in tree.walk():
        if _is_rotary(node):
            owner = node.path.rpartition(".")[0]
            if gives_angles(node, found):
                continue
            if owner in by_functions and not node.calls and node.leaf:
                continue  # it stands for the function, and has its kernel
            try:
                of_indexer = kernels_of_indexer(node, tree)
            except UndecidedError as why:
                found.problem(f"{node.class_name} kernel", str(why), node)
                continue
            functions = of_indexer or (*fused.get(node.path, ()), *fused.get(owner, ()))
            if _gives_table(node) and any(path.startswith(f"{owner}.") for path in towers):
                # Rows of a table are a view of it; the tower's attention turns by them.
                found.claim(node)
                continue
            _match(node, functions, found, is_called=of_indexer == ())
    return found.finish()


def _is_rotary(node: ModuleNode) -> bool:
    if node.cls.startswith(_LAYERS):
        return True
    return not node.children and _NAME.search(node.class_name) is not None


def _gives_table(node: ModuleNode) -> bool:
    """Whether a rotary embedding is asked for rows of its table, and for nothing else."""
    return bool(node.calls) and all(_TABLE.match(call.method) for call in node.calls)


def _fused_functions(tree: ModelTree) -> dict[str, tuple[str, ...]]:
    """Path of a module to the functions with `rope` in their names that it calls, or is given to.

    A rotary embedding that hands its table over is given to a function, too.
    """
    functions: dict[str, dict[str, None]] = {}
    for operation in tree.operations:
        name = operation.function.rpartition(".")[2]
        if not _FUSED.search(name) or not name.isidentifier():
            continue
        functions.setdefault(operation.module, {})[name] = None
        for path in _modules((*operation.args, *operation.kwargs.values())):
            functions.setdefault(path, {})[name] = None
    return {path: tuple(names) for path, names in functions.items()}


def _modules(values: Iterable[Any]) -> Iterable[str]:
    """Paths of the modules in values, and of those that hold parameters in them."""
    for value in values:
        if isinstance(value, ModuleRef):
            yield value.path
        elif isinstance(value, ParameterRef):
            yield value.path.rpartition(".")[0]
        elif isinstance(value, Alternatives):
            yield from _modules(value.values)
        elif isinstance(value, (list, tuple)):
            yield from _modules(value)
        elif isinstance(value, Mapping):
            yield from _modules(value.values())


def _match(
    node: ModuleNode,
    fused_functions: tuple[str, ...],
    found: KernelCollector,
    *,
    is_called: bool = False,
) -> None:
    """Add the kernels of a rotary embedding, or say why it has none.

    Args:
        node: The module.
        fused_functions: Functions that compute it together with something else.
        found: Takes what is found.
        is_called: Whether it is known to be called where calls are not followed.
    """
    try:
        rope = _read_constructor(node)
    except _OtherFunction as other:
        found.not_covered(node.class_name, str(other), node)
        return
    except UndecidedError as why:
        found.problem(f"{node.class_name} kernel", str(why), node)
        return
    alone, storing, table, doubts = _read_calls(node.calls)
    for doubt in doubts:
        found.problem(f"{rope.name}, alone or with writing the KV cache", doubt, node)
    alone = alone or is_called
    if alone:
        found.add(_kernel(node, rope), node)
    if storing:
        found.not_covered(
            f"{rope.name} that writes the KV cache",
            "one kernel turns queries and keys and puts keys and values into the cache",
            node,
            choice=_CHOICE,
        )
    if alone or storing or doubts:
        return
    if table:
        found.not_covered(
            f"table of {node.class_name}",
            "it gives cosines and sines alone; a function of the model turns by them",
            node,
        )
    elif node.idle:
        found.not_covered(
            f"{rope.name} that is not run",
            "the forward pass does not call it; another kernel may read its table",
            node,
        )
    elif fused_functions:
        for function in fused_functions:
            found.not_covered(
                f"{rope.name} inside {function}",
                "one kernel computes it together with what comes before or after",
                node,
            )
    else:
        found.not_covered(
            f"{rope.name} whose call was not found",
            "no call of it was found in the forward pass; another function may stand for it",
            node,
        )


def _kernel(node: ModuleNode, rope: _Rope) -> Kernel:
    neox = node.argument("is_neox_style")
    scaled = rope.scaling != _SCALINGS["RotaryEmbedding"]
    return Kernel(
        op_type=OP_TYPE,
        name=rope.name,
        parameters={
            "style": rope.style,
            "head_size": int(rope.head_size),
            "rotary_dim": int(rope.rotary_dim),
            "scaling": rope.scaling,
            **_parameters(rope),
        },
        facts={
            "head_size": fact(rope.head_size, node, "elements of a head"),
            "rotary_dim": fact(rope.rotary_dim, node, rope.turned),
            "is_neox_style": fact(
                bool(neox), node, "whether the elements of a pair are half apart"
            ),
            **({"num_axes": fact(3, node, "sections of pairs")} if rope.sections else {}),
        },
        uses=(),
        tags=() if rope.sections else (f"fi_api:{API}",),
        notes=(f"scaling of its table: {rope.scaling}",) if scaled else (),
        choice=_CHOICE,
    )


def _parameters(rope: _Rope) -> dict[str, str | bool]:
    if not rope.sections:
        return {}
    sections = " ".join(str(int(section)) for section in rope.sections)
    return {"sections": sections, "interleaved": rope.interleaved}


# --- the constructor ---------------------------------------------------------------------------


def _read_constructor(node: ModuleNode) -> _Rope:
    """What the constructor's arguments say.

    Raises:
        _OtherFunction: the module turns otherwise.
        UndecidedError: an argument is not known.
    """
    if not node.cls.startswith(_LAYERS):
        raise _OtherFunction(_UNKNOWN_CLASS)
    scaling = _SCALINGS.get(node.class_name)
    if scaling is None:
        raise _OtherFunction(_OTHERS.get(node.class_name, _UNKNOWN_CLASS))
    neox = decided(_argument(node, "is_neox_style"), "is_neox_style")
    if not isinstance(neox, bool):
        raise UndecidedError(f"is_neox_style is {neox!r}, neither true nor false")
    if any(_argument(node, name) == 0 for name in ("head_size", "rotary_dim")):
        raise _OtherFunction("it turns 0 elements of a head: queries and keys are as they were")
    head_size, rotary_dim = (
        decided_size(_argument(node, "head_size"), "head_size"),
        decided_size(_argument(node, "rotary_dim"), "rotary_dim"),
    )
    turned = "elements of a head that are turned"
    if node.class_name == "Gemma4RotaryEmbedding":
        # It turns whole heads, by rows whose pairs after the first rotary_dim / 2 have angle 0.
        rotary_dim, turned = head_size, "all of a head, most of it by an angle of 0"
    if rotary_dim % 2:
        raise _OtherFunction(f"{rotary_dim} elements of a head make no pairs")
    if rotary_dim > head_size:
        raise _OtherFunction(f"its rotary_dim, {rotary_dim}, is more than a head of {head_size}")
    rope = _Rope(NEOX if neox else GPTJ, head_size, rotary_dim, turned, scaling)
    return _with_sections(rope, node) if node.class_name in _SECTIONED else rope


def _with_sections(rope: _Rope, node: ModuleNode) -> _Rope:
    """The same with the sections of an embedding of several positions a token."""
    given = decided(_argument(node, "mrope_section"), "mrope_section")
    if not given:
        return rope  # then it turns by one position
    if node.argument("mrope_interleaved_glm", False) is not False:
        raise _OtherFunction("its sections take turns as GLM's do, until each has had its pairs")
    interleaved = decided(node.argument("mrope_interleaved", False), "mrope_interleaved")
    known = isinstance(given, (list, tuple)) and len(given) == 3
    sizes = [decided_size(size, "mrope_section") for size in given] if known else []
    if not known or 2 * sum(sizes) != rope.rotary_dim:
        raise UndecidedError(f"mrope_section is {given}, and {rope.rotary_dim // 2} pairs turn")
    return attrs.evolve(rope, sections=tuple(map(int, sizes)), interleaved=bool(interleaved))


def _argument(node: ModuleNode, name: str) -> Any:
    if name not in node.arguments:
        raise UndecidedError(f"{name} is not among the constructor's arguments")
    return node.argument(name)


# --- the calls ---------------------------------------------------------------------------------


def _read_calls(calls: Iterable[Call]) -> tuple[bool, bool, bool, list[str]]:
    """Whether calls turn alone, turn and write the KV cache, ask for the table; and doubts."""
    alone = storing = table = False
    doubts: list[str] = []
    for call in calls:
        if _TABLE.match(call.method):
            table = True
        elif _TURNING.match(call.method):
            # forward(positions, query, key, offsets=None, fused_set_kv_buffer_arg=None)
            for target in possible_values(call.argument(4, "fused_set_kv_buffer_arg")):
                if target is None:
                    alone = True
                elif isinstance(target, Unknown) and not target.is_tensor:
                    doubts.append(f"fused_set_kv_buffer_arg: {target} in the call at {call.place}")
                else:
                    storing = True
    return alone, storing, table, list(dict.fromkeys(doubts))
