"""What the source takes from outside of its tree: torch, the standard library, other packages.

Only what model constructors need is known here; everything else is an opaque name, and a call of it
gives an `Unknown` that says so.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Ext,
    Mod,
    Namespace,
    Native,
    Obj,
    Param,
    Partial,
    Raised,
    Tensor,
    deep_unknown,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

Args = list[Any]
Kwargs = dict[str, Any]

_CONVOLUTION = (
    ("in_channels", ABSENT), ("out_channels", ABSENT), ("kernel_size", ABSENT), ("stride", 1),
)  # fmt: skip
_EXT_MODULES: dict[str, tuple[tuple[str, Any], ...]] = {
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
_FACTORIES = {"empty", "zeros", "ones", "randn", "rand", "full"}
_LIKE = {"empty_like", "zeros_like", "ones_like", "rand_like", "full_like"}
_MAKERS = {
    "tensor", "as_tensor", "arange", "from_numpy", "eye", "linspace", "cat", "stack", "outer",
}  # fmt: skip
_MODULE_ITERATORS = {
    "children", "modules", "named_parameters", "named_modules", "named_buffers", "named_children",
    "state_dict",
}  # fmt: skip
_MODULE_NO_OPS = {
    "eval", "train", "to", "cuda", "cpu", "half", "bfloat16", "float", "requires_grad_", "apply",
    "register_load_state_dict_post_hook", "register_forward_hook", "register_forward_pre_hook",
    "_register_load_state_dict_pre_hook", "post_init", "compile",
}  # fmt: skip
_MATH = {
    name: getattr(math, name)
    for name in (
        "sqrt", "log", "log2", "log10", "ceil", "floor", "gcd", "lcm", "prod", "exp", "pow",
        "isclose", "cos", "sin", "tanh", "fabs",
    )
}  # fmt: skip
_OPERATOR = {
    f"operator.{n}": getattr(operator, n) for n in ("mul", "add", "sub", "floordiv", "truediv")
}
_RE: dict[str, Callable[..., Any]] = {
    f"re.{n}": getattr(re, n)
    for n in ("compile", "escape", "findall", "fullmatch", "match", "search", "split", "sub")
}
_SILENT = (
    "logging.",
    "warnings.",
    "torch._dynamo.",
    "torch.compiler.",
    "torch.library.",
    "atexit.",
)


class Externals(Part):
    """Names of other packages: constants, attributes, calls."""

    def external(self, name: str) -> Any:
        """The value of a dotted name outside of the tree."""
        constants = self.environment.constants
        if name in constants:
            value = constants[name]
            return value.fn(self, [], {}, None) if isinstance(value, Native) else value
        if name.startswith("math."):
            return (
                getattr(math, name[5:], Ext(name))
                if name in ("math.pi", "math.inf", "math.e")
                else Ext(name)
            )
        return Ext(name)

    def external_attr(self, value: Ext, name: str) -> Any:
        """An attribute of an opaque name."""
        if name == "__name__":
            return value.name.rpartition(".")[2]
        if self.inside(value.name):
            return self.imported(value.name, name)
        if value.name in self.environment.lacking and name in self.environment.lacking[value.name]:
            return ABSENT
        return self.external(f"{value.name}.{name}")

    def external_truth(self, value: Ext) -> bool | None:
        """Modules, classes and functions are true; what else an opaque name is, is unknown."""
        return True

    # -- modules of torch ----------------------------------------------------------------------

    def external_method(self, mod: Mod, name: str) -> Any:
        """A method that `torch.nn.Module` gives to every module, or ABSENT."""
        if name in _MODULE_NO_OPS:
            return Native(name, lambda *_: mod)
        if name in ("register_buffer", "register_parameter", "add_module", "register_module"):

            def register(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
                key = args[0] if args else kwargs.get("name")
                named = (kwargs[k] for k in ("tensor", "param", "module") if k in kwargs)
                value = args[1] if len(args) > 1 else next(named, None)
                if isinstance(key, str):
                    ev.put(mod.attrs, key, value)
                return None

            return Native(name, register)
        if name in ("buffers", "parameters"):
            return Native(name, lambda *_: [v for v in mod.attrs.values() if isinstance(v, Tensor)])
        if name in _MODULE_ITERATORS:
            return Native(
                name, lambda ev, args, kwargs, place: Unknown(f"{name}() of a module", place)
            )
        if name in ("training",):
            return False
        return ABSENT

    def _external_init(self, mod: Mod, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Construct a module whose `__init__` is torch's own."""
        bases = mod.cls.mro if isinstance(mod.cls, Class) else [mod.cls]
        for base in bases:
            if not isinstance(base, Ext):
                continue
            short = base.name.rpartition(".")[2]
            if short in ("ModuleList", "Sequential", "ModuleDict"):
                self._fill_module_list(mod, short, args, place)
                return
            spec = _EXT_MODULES.get(short)
            if spec is not None:
                mod.args = {n: d for n, d in spec if d is not ABSENT}
                mod.args.update({n: a for (n, _), a in zip(spec, args, strict=False)})
                mod.args.update(kwargs)
                mod.leaf = True
                return
        mod.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
        mod.leaf = isinstance(mod.cls, Ext)

    def _fill_module_list(self, mod: Mod, kind: str, args: Args, place: SourcePlace) -> None:
        mod.items = []
        source: Any = args[0] if args else []
        if kind == "Sequential" and not (len(args) == 1 and isinstance(source, (list, dict))):
            source = list(args)
        if isinstance(source, dict):
            mod.items = None
            for key, value in source.items():
                mod.attrs[str(key)] = value
            return
        items = self.items_of(source)
        mod.items = (
            list(items)
            if items is not None
            else [source if isinstance(source, Unknown) else Unknown("unknown modules", place)]
        )

    def _construct_external(self, ext: Ext, args: Args, kwargs: Kwargs, place: SourcePlace) -> Mod:
        mod = Mod(ext, place)
        self.keep.append(mod)
        self._external_init(mod, args, kwargs, place)
        return mod

    # -- calls ---------------------------------------------------------------------------------

    def call_external(self, ext: Ext, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """Call an opaque name."""
        name = ext.name
        answer = self.environment.external_call(self.evaluator, name, args, kwargs, place)
        if answer is not ABSENT:
            return answer
        if name.startswith(_SILENT):
            return Ext(name) if name.endswith("getLogger") else None
        if name.startswith("math.") and name[5:] in _MATH:
            return self._plain_call(_MATH[name[5:]], args, kwargs, place)
        # The package regex stands in for re, with the same functions.
        known = _OPERATOR.get(name) or _RE.get(name.replace("regex.", "re.", 1))
        if known is not None:
            return self._plain_call(known, args, kwargs, place)
        handler = _CALLS.get(name)
        if handler is not None:
            return handler(self, args, kwargs, place)
        if name.startswith("torch.nn.init."):
            return args[0] if args else None
        if name.startswith("torch.nn."):
            short = name.rpartition(".")[2]
            if short[:1].isupper():
                return self._construct_external(ext, args, kwargs, place)
        if name.startswith("torch."):
            made = self._torch_call(name, args, kwargs, place)
            if made is not ABSENT:
                return made
        short = name.rpartition(".")[2]
        if short.endswith(("Error", "Exception", "Warning")):
            return Obj(ext, place)
        if self.forward:
            return self.tensor_operation(name, args, kwargs, place)
        if self.environment.is_foreign_module(name):
            return self._construct_external(ext, args, kwargs, place)
        if short[:1].isupper():
            made_obj = Obj(ext, place)
            made_obj.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
            return made_obj
        return Unknown(f"the result of {name}()", place)

    def _plain_call(
        self, fn: Callable[..., Any], args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        if args and isinstance(args[0], Alternatives):
            return self.mapped(
                args[0], lambda v: self._plain_call(fn, [v, *args[1:]], kwargs, place)
            )
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        if not all(isinstance(a, (int, float, str, list, tuple, type(None))) for a in args):
            return Unknown(f"{fn.__name__} of an object", place)
        return self.native(lambda *a: fn(*a, **kwargs), args, place)

    def _torch_call(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        short = name.rpartition(".")[2]
        dtype = kwargs.get("dtype")
        if name.count(".") == 1 and short in _FACTORIES:
            size = kwargs.get("size", args[0] if args else ())
            if isinstance(size, (int, Unknown)) and short != "full":
                shape = tuple(a for a in args) or (size,)
            elif isinstance(size, (list, tuple)):
                shape = tuple(size)
            else:
                shape = (size,)
            return Tensor(shape, dtype)
        if name.count(".") == 1 and short in _LIKE:
            source = args[0] if args else None
            return (
                Tensor(source.shape, dtype or source.dtype)
                if isinstance(source, Tensor)
                else Tensor(None, dtype)
            )
        if name.count(".") == 1 and short in _MAKERS:
            if any(isinstance(a, Param) for a in args):
                return self.tensor_operation(name, args, kwargs, place)
            return Tensor(None, dtype)
        if name.startswith("torch.ops."):
            return self.tensor_operation(name, args, kwargs, place)
        return ABSENT


def _parameter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    data = args[0] if args else kwargs.get("data")
    if isinstance(data, Tensor):
        return Param(data.shape, data.dtype)
    return Param(None)


def _partial(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Partial(args[0], tuple(args[1:]), dict(kwargs))


def _identity(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return args[0] if args else Native("identity", _identity)


def _cast(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return args[1]


def _deepcopy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return copied(args[0])


def copied(value: Any) -> Any:
    """A copy of containers, config objects and instances; modules and classes stay themselves."""
    if isinstance(value, list):
        return [copied(v) for v in value]
    if isinstance(value, tuple):
        return tuple(copied(v) for v in value)
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    if isinstance(value, Namespace):
        return value.copy({k: copied(v) for k, v in value.values.items()})
    if type(value) is Obj:
        new = Obj(value.cls, value.place)
        new.attrs = {k: copied(v) for k, v in value.attrs.items()}
        new.args = value.args
        return new
    return value


def _array_split(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`numpy.array_split`: the first parts are longer by one where the length does not divide."""
    items, parts = ev.items_of(args[0]), args[1] if len(args) > 1 else None
    if items is None or isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        return Unknown("parts of something unknown", place)
    short, longer = divmod(len(items), parts)
    ends = [short * (n + 1) + min(n + 1, longer) for n in range(parts)]
    cut = [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [_array(part) for part in cut]


def _array(items: list[Any]) -> Namespace:
    return Namespace("array", {"tolist": Native("tolist", lambda *_: list(items))})


def _ordered_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.call(ev.builtins["dict"], args, kwargs, place)


def _default_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return dict(args[1]) if len(args) > 1 and isinstance(args[1], dict) else {}


def _reduce(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[1])
    if items is None:
        return Unknown("a reduction of something unknown", place)
    values = [*args[2:3], *items]
    if not values:
        raise Raised("TypeError", "reduce of nothing", place)
    return functools.reduce(lambda a, b: ev.call(args[0], [a, b], {}, place), values)


def _chain(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    parts = [ev.items_of(a) for a in args]
    if any(p is None for p in parts):
        return Unknown("a chain of something unknown", place)
    return list(itertools.chain(*(p for p in parts if p is not None)))


def _getenv(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("default")


def _fields(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`dataclasses.fields` of a record class or an instance of one."""
    owner = args[0].cls if isinstance(args[0], Obj) else args[0]
    known = ev.record_fields(owner) if isinstance(owner, Class) else None
    if known is None:
        return Unknown("the fields of something that is no record", place)
    return tuple(Namespace("field", {"name": name, "init": True}) for name in known)


def _as_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`dataclasses.asdict`: the fields of a record, records inside of it as dicts too."""
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("the fields of something unknown", place)
    return _plain_record(ev, value)


def _plain_record(ev: Evaluator, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain_record(ev, v) for v in value)
    if isinstance(value, dict):
        return {k: _plain_record(ev, v) for k, v in value.items()}
    if type(value) is Obj and isinstance(value.cls, Class):
        fields = ev.record_fields(value.cls)
        if fields is not None:
            return {k: _plain_record(ev, value.attrs[k]) for k in fields if k in value.attrs}
    return value


def _replace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`dataclasses.replace`."""
    value = args[0]
    if type(value) is not Obj or not isinstance(value.cls, Class):
        return Unknown("a changed copy of something that is no record", place)
    known = ev.record_fields(value.cls) or {}
    given = {name: value.attrs[name] for name in known if name in value.attrs}
    return ev.construct(value.cls, [], {**given, **kwargs}, place)


def _is_dataclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("whether something unknown is a dataclass", place)
    owner = value.cls if isinstance(value, Obj) else value
    return isinstance(owner, Class) and ev.record_fields(owner) is not None


def _simple_namespace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Namespace("SimpleNamespace", dict(kwargs))


def _nullcontext(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return [args[0] if args else None]


def _named_tuple(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Unknown("a named tuple type", place)


_CALLS: dict[str, Callable[[Any, Args, Kwargs, SourcePlace], Any]] = {
    "torch.nn.Parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "functools.partial": _partial,
    "functools.reduce": _reduce,
    "functools.lru_cache": _identity,
    "functools.cache": _identity,
    "functools.wraps": lambda ev, args, kwargs, place: Native("wraps", _identity),
    "contextlib.nullcontext": _nullcontext,
    "contextlib.contextmanager": _identity,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.namedtuple": _named_tuple,
    "dataclasses.asdict": _as_dict,
    "dataclasses.fields": _fields,
    "dataclasses.is_dataclass": _is_dataclass,
    "dataclasses.replace": _replace,
    "itertools.chain": _chain,
    "numpy.array_split": _array_split,
    "os.getenv": _getenv,
    "os.environ.get": _getenv,
    "types.MappingProxyType": _ordered_dict,
    "types.SimpleNamespace": _simple_namespace,
    "typing.cast": _cast,
    "typing.TypeVar": lambda ev, args, kwargs, place: Ext("typing.TypeVar"),
    "enum.auto": lambda ev, args, kwargs, place: Obj(Ext("enum.auto"), place),
    "torch.device": lambda ev, args, kwargs, place: Obj(Ext("torch.device"), place),
    "torch.no_grad": lambda ev, args, kwargs, place: Native("no_grad", _identity),
    "torch.compile": _identity,
    "torch.jit.script": _identity,
}
