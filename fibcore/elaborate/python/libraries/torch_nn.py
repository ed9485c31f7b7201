"""torch.nn: modules whose constructors are torch's own, and what every module can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates, imitates_all
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Ext,
    Kwargs,
    Mod,
    Native,
    Param,
    Repeat,
    Tensor,
    born,
)
from fibcore.elaborate.python.values.iterators import Positions
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


_CONVOLUTION = (
    ("in_channels", ABSENT), ("out_channels", ABSENT), ("kernel_size", ABSENT), ("stride", 1),
)  # fmt: skip
_PARAMETERS: dict[str, tuple[tuple[str, Any], ...]] = {
    # Parameter names and defaults of torch.nn classes (docs.pytorch.org/docs/stable/nn.html).
    "Linear": (("in_features", ABSENT), ("out_features", ABSENT), ("bias", True)),
    "Embedding": (("num_embeddings", ABSENT), ("embedding_dim", ABSENT), ("padding_idx", None)),
    "LayerNorm": (
        ("normalized_shape", ABSENT), ("eps", 1e-5), ("elementwise_affine", True), ("bias", True),
    ),
    "RMSNorm": (("normalized_shape", ABSENT), ("eps", None), ("elementwise_affine", True)),
    "Conv1d": _CONVOLUTION,
    "Conv2d": _CONVOLUTION,
    "Conv3d": _CONVOLUTION,
    "Dropout": (("p", 0.5),),
}  # fmt: skip
_LISTS = ("ModuleList", "Sequential", "ModuleDict")
_ITERATORS = frozenset((
    "children", "modules", "named_parameters", "named_modules", "named_buffers", "named_children",
    "state_dict",
))  # fmt: skip
_NO_OPS = frozenset((
    "eval", "train", "to", "cuda", "cpu", "half", "bfloat16", "float", "requires_grad_", "apply",
    "register_load_state_dict_post_hook", "register_forward_hook", "register_forward_pre_hook",
    "_register_load_state_dict_pre_hook", "post_init", "compile",
))  # fmt: skip
_SIZES = frozenset((
    "in_features", "out_features", "in_channels", "out_channels", "num_embeddings",
    "embedding_dim",
))  # fmt: skip
"""Arguments that torch's classes keep as they are given, under the same names."""
_REGISTER = ("register_buffer", "register_parameter", "add_module", "register_module")


@imitates("torch.nn.Parameter", "torch.nn.parameter.Parameter")
def _parameter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    data = args[0] if args else kwargs.get("data")
    return Param(data.shape, data.dtype) if isinstance(data, Tensor) else Param(None)


@imitates("torch.nn.Buffer", "torch.nn.parameter.Buffer")
def _buffer(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A tensor that a module keeps and does not learn: the tensor that it is made of."""
    data = args[0] if args else kwargs.get("data")
    return Unknown.tensor("a buffer", place) if data is None else data


@imitates_all("torch.nn.init.")
def _init(ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """Initial weights do not matter; the tensor is handed back."""
    return args[0] if args else None


@imitates_all("torch.nn.")
def _class(ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A module class, by its capital; functions of torch.nn.functional are left to others."""
    if not name.rpartition(".")[2][:1].isupper():
        return ABSENT
    return construct(ev, Ext(name), args, kwargs, place)


def construct(ev: Evaluator, cls: Ext, args: Args, kwargs: Kwargs, place: SourcePlace) -> Mod:
    """A module of a class outside of the source."""
    mod = Mod(cls, place)
    ev.keep.append(mod)
    init(ev, mod, args, kwargs, place)
    return mod


def init(ev: Evaluator, mod: Mod, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
    """Do what torch's own `__init__` does, for the nearest base class that is known."""
    bases = mod.cls.mro if isinstance(mod.cls, Class) else [mod.cls]
    for base in bases:
        if not isinstance(base, Ext):
            continue
        if base.short in _LISTS:
            _fill(ev, mod, base.short, args, place)
            return
        spec = _PARAMETERS.get(base.short)
        if spec is not None:
            mod.args = {n: d for n, d in spec if d is not ABSENT}
            mod.args.update({n: a for (n, _), a in zip(spec, args, strict=False)})
            mod.args.update(kwargs)
            mod.leaf = True
            return
    mod.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
    # A bare `nn.Module()` holds the modules that are hung on it.
    mod.leaf = isinstance(mod.cls, Ext) and mod.cls.short != "Module"


def init_attributes(mod: Mod, args: Args, kwargs: Kwargs) -> dict[str, Any] | None:
    """What torch's `__init__` keeps under the names of its parameters; None where nobody knows.

    That is for classes of the source that call it themselves: `super().__init__(n, m, bias=False)`.
    Sizes are kept as they are given; a bias becomes a parameter of that name, or None.
    """
    base = next((b for b in mod.cls.mro if isinstance(b, Ext)), None)
    spec = None if base is None else _PARAMETERS.get(base.short)
    if spec is None:
        return None
    found = {n: d for n, d in spec if d is not ABSENT}
    found.update({n: a for (n, _), a in zip(spec, args, strict=False)})
    found.update({n: kwargs[n] for n, _ in spec if n in kwargs})
    found.pop("bias", None)
    return found


def _fill(ev: Evaluator, mod: Mod, kind: str, args: Args, place: SourcePlace) -> None:
    """Put the entries into a list of modules; a dict of modules has them as attributes."""
    mod.entries = born([])
    source: Any = args[0] if args else []
    if kind == "Sequential" and not (len(args) == 1 and isinstance(source, (list, dict))):
        source = list(args)
    if isinstance(source, dict):
        mod.entries = None
        for key, value in source.items():
            mod.attrs[str(key)] = value
        return
    items = ev.operators.items(source)
    if items is None:
        lost = source if isinstance(source, Unknown) else Unknown("unknown modules", place)
        mod.entries = born([lost])
    else:
        mod.entries = born(list(items))


def _tensors(mod: Mod, name: str, place: SourcePlace) -> Any:
    """`mod.parameters()` or `mod.buffers()`, where it has none but its own."""
    unknown = Unknown(f"{name}() of a module", place)
    held = list(mod.attrs.values())
    others = (Mod, Repeat, Alternatives, Unknown)
    if mod.leaf or mod.entries or any(isinstance(value, others) for value in held):
        return unknown
    tensors = [value for value in held if isinstance(value, Tensor)]
    parameters = [value for value in tensors if isinstance(value, Param)]
    if name == "parameters":
        return Positions(parameters, "generator")
    # A tensor that was assigned is no buffer, and one that was registered is.
    return unknown if len(parameters) < len(tensors) else Positions([], "generator")


def method(mod: Mod, name: str) -> Any:
    """What `torch.nn.Module` gives to every module under a name, or ABSENT."""
    if name in _NO_OPS:
        return Native(name, lambda *_: mod)
    if name in _REGISTER:

        def register(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            key = args[0] if args else kwargs.get("name")
            named = (kwargs[k] for k in ("tensor", "param", "module") if k in kwargs)
            value = args[1] if len(args) > 1 else next(named, None)
            if isinstance(key, str):
                ev.writes.put(mod.attrs, key, value)

        return Native(name, register)
    if name in ("buffers", "parameters"):
        return Native(name, lambda ev, args, kwargs, place: _tensors(mod, name, place))
    if name in _ITERATORS:
        return Native(name, lambda ev, args, kwargs, place: Unknown(f"{name}() of a module", place))
    if name in _SIZES and mod.leaf and name in mod.args and _of_torch(mod.cls):
        return mod.args[name]
    return False if name == "training" else ABSENT


def _of_torch(cls: Any) -> bool:
    """Whether a module's arguments are those of a class of torch.nn that is known."""
    bases = cls.mro if isinstance(cls, Class) else [cls]
    base = next((b for b in bases if isinstance(b, Ext)), None)
    return base is not None and base.name.startswith("torch.nn.") and base.short in _PARAMETERS
