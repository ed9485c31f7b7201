"""Stand-ins for a handful of the source's own functions.

Each does what the function means for the tree of modules, without what it does to a machine: layers
are made, server arguments are read at their defaults, stage boundaries note the norms they run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.calls import TENSOR_REASON
from fibcore.elaborate.python.index import entry_classes
from fibcore.elaborate.python.values import (
    ABSENT,
    Bound,
    Class,
    Ext,
    Func,
    Mod,
    Namespace,
    Native,
    Obj,
)
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

Args = list[Any]
Kwargs = dict[str, Any]


class Stage:
    """A norm that a stage boundary runs: its declaration, the norm, and where they meet."""

    __slots__ = ("declaration", "norm", "place")

    def __init__(self, declaration: Any, norm: Any, place: SourcePlace) -> None:
        self.declaration = declaration
        self.norm = norm
        self.place = place


def _argument(args: Args, kwargs: Kwargs, position: int, name: str, default: Any = None) -> Any:
    return args[position] if position < len(args) else kwargs.get(name, default)


def make_layers(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`make_layers(num_hidden_layers, layer_fn, ...)` on the only pipeline rank."""
    whole = _returns_range(ev, kwargs)
    count = _argument(args, kwargs, 0, "num_hidden_layers")
    layer_fn = _argument(args, kwargs, 1, "layer_fn")
    prefix = kwargs.get("prefix", next((a for a in args[2:] if isinstance(a, str)), ""))
    modules = Mod(Ext("torch.nn.ModuleList"), place)
    ev.keep.append(modules)
    if not isinstance(count, int):
        modules.items = [
            count if isinstance(count, Unknown) else Unknown("an unknown number of layers", place)
        ]
    else:

        def one(index: Any) -> Any:
            name = ev.native(lambda p, i: f"{p}.{i}" if p else str(i), [prefix, index], place)
            return ev.call(layer_fn, [], {"idx": index, "prefix": name}, place)

        modules.items = ev.repeated(list(range(count)), one)
    return (modules, 0, count) if whole else modules


def _returns_range(ev: Evaluator, kwargs: Kwargs) -> bool:
    name = ev.environment.shimmed
    if name == "make_pp_layers":
        return True
    if name == "make_layers_non_pp":
        return False
    return kwargs.get("pp_rank") is not None and kwargs.get("pp_size") is not None


def pp_indices(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """All layers are on the only pipeline rank."""
    return (0, _argument(args, kwargs, 0, "num_hidden_layers"))


def append_stages(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """Note the stages on the module that declares them; their boundaries pass tensors on."""
    boundaries = []
    for stage in args:
        items = ev.items_of(stage)
        if items is None or len(items) < 2:
            if ev.building:
                ev.building[-1].stages.append(
                    Stage(Unknown("a stage that is not known", place), None, place)
                )
        elif ev.building:
            ev.building[-1].stages.append(Stage(items[0], items[1], place))
        boundaries.append(Namespace("stage boundary", {}, _tensor_method))
    return tuple(boundaries)


def _tensor_method(name: str) -> Any:
    return Native(name, lambda ev, args, kwargs, place: Unknown.tensor(TENSOR_REASON, place))


def tensor(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A function that passes tensors on."""
    return Unknown.tensor(TENSOR_REASON, place)


def final_norm(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`final_norm(hidden_states, forward_batch, layernorm)`: adds the last stage's output first."""
    norm = _argument(args, kwargs, 2, "layernorm")
    if isinstance(norm, Mod):
        value = Unknown.tensor(TENSOR_REASON, place)
        ev.note_call(norm, "forward", [value, value], {}, place)
    return Unknown.tensor(TENSOR_REASON, place)


def read_output(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`read_output(hidden_states, forward_batch, read, norm)`: the read says how the norm runs."""
    read, norm = _argument(args, kwargs, 2, "read"), _argument(args, kwargs, 3, "norm")
    if isinstance(norm, Mod):
        value = Unknown.tensor(TENSOR_REASON, place)
        fused = fuses_add(read)
        if fused is not None:
            ev.note_call(norm, "forward", [value, value] if fused else [value], {}, place)
    return Unknown.tensor(TENSOR_REASON, place)


def fuses_add(read: Any) -> bool | None:
    """Whether a readout adds the residual inside the norm; None where that is not known."""
    if not isinstance(read, Obj) or not isinstance(read.cls, Class):
        return None
    names = {"NormReadout": True, "NormQuantReadout": True, "UnfusedNormReadout": False}
    return names.get(read.cls.name)


def server_args(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The server's arguments: serving sizes, else the defaults of `ServerArgs`."""
    known = getattr(ev, "server_args_bag", None)
    if known is not None:
        return known
    sizes = ev.environment
    values = {
        "tp_size": sizes.value("$tp"),
        "ep_size": sizes.value("$ep"),
        "dp_size": 1,
        "pp_size": 1,
        "device": "cuda",
        "attention_backend": Unknown("the attention backend"),
        "prefill_attention_backend": Unknown("the attention backend"),
        "decode_attention_backend": Unknown("the attention backend"),
        "page_size": Unknown("the page size"),
        "model_path": Unknown("the model's path"),
    }

    def default(name: str) -> Any:
        space = ev.space(f"{ev.index.package}.srt.server_args")
        cls = None if space is None else ev.module_name(space, "ServerArgs")
        if isinstance(cls, Class):
            found = ev.class_attr(cls, name)
            if isinstance(found, Func):
                if name == "override":  # writes what a model settles while it is loaded
                    return Native(name, lambda _, args, given, at: values.update(given))
                bound = Bound(found, known_bag)
                return ev.call(bound, [], {}, place) if found.kind == "property" else bound
            if found is not ABSENT:
                return found
        for bag in _bags(ev):
            found = _bag_field(ev, bag, name)
            if found is not ABSENT:
                return found
        return Unknown(f"server argument {name}")

    known_bag = Namespace("server arguments", values, default)
    ev.server_args_bag = known_bag
    return known_bag


def context(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The process-wide context: of its state only the server's arguments are known."""
    known = {"server_args": server_args(ev, args, kwargs, place)}
    return Namespace("context", known, lambda name: Unknown(f"{name} of the process's context"))


def model_class(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`_get_sgl_model_cls(self, config, auto_model_type)`: SGLang's model for a nested config.

    The source asks transformers' Auto classes for the architecture of the config's class, and its
    own registry for the model of that name.
    """
    config = _argument(args, kwargs, 1, "config")
    auto = _argument(args, kwargs, 2, "auto_model_type", Ext("transformers.AutoModel"))
    kind = ev.find_attr(config, "model_type", place) if isinstance(config, Namespace) else None
    table = ev.configs.table if ev.configs is not None else None
    if not isinstance(kind, str) or table is None or not isinstance(auto, Ext):
        return Unknown("the model class of a nested config", place)
    task = auto.name.rpartition(".AutoModel")[2]
    named = table.architectures.get(kind, ())
    names = [n for n in ([named] if isinstance(named, str) else named) if _for_task(n, task)]
    for name in names:
        for module in ev.index.model_modules():
            if name in entry_classes(module):
                space = ev.space(module.name)
                return Unknown(name, place) if space is None else ev.module_name(space, name)
    asked = " or ".join(names) or f"{kind} with AutoModel{task}"
    return Unknown(f"a model class of its own: this SGLang has none for {asked}", place)


def _for_task(name: str, task: str) -> bool:
    return name.endswith(task) if task else "For" not in name


_NS_PATH = re.compile(
    r"^class (\w+)[^\n]*:.*?^    _NS_PATH = \"([\w.]+)\"", re.MULTILINE | re.DOTALL
)


def _bags(ev: Evaluator) -> dict[str, list[Class]]:
    """The classes of server-argument fields, by namespace path."""
    known: dict[str, list[Class]] | None = getattr(ev, "argument_bags", None)
    if known is None:
        known = {}
        folder = ev.index.root / "srt" / "arg_groups" / "fields"
        for path in sorted(folder.glob("*.py")):
            space = ev.space(f"{ev.index.package}.srt.arg_groups.fields.{path.stem}")
            if space is None:
                continue
            for name, bag in _NS_PATH.findall(space.source.text):
                cls = ev.module_name(space, name)
                if isinstance(cls, Class):
                    known.setdefault(bag, []).append(cls)
        ev.argument_bags = known
    return known


def _bag_field(ev: Evaluator, bag: str, name: str) -> Any:
    for cls in _bags(ev).get(bag, ()):
        found = ev.class_attr(cls, name)
        if found is not ABSENT:
            if isinstance(found, Obj) and found.class_name == "Derived":
                return Unknown(f"{bag}.{name}, which is computed when the server starts")
            return found
    return ABSENT


def bag(ev: Evaluator, path: str) -> Any:
    """A namespace of resolved server arguments, at the defaults that the source declares."""
    cache: dict[str, Namespace] = ev.bag_cache
    if path not in cache:

        def field(name: str) -> Any:
            found = _bag_field(ev, path, name)
            if found is not ABSENT:
                return found
            inner = f"{path}.{name}"
            if inner in _bags(ev):
                return bag(ev, inner)
            return Unknown(f"server argument {inner}")

        values = {}
        if path == "model":
            values["shared_experts"] = ev.shared_experts
            values["model_path"] = Unknown("the model's path")
        if path == "exec.kernel":
            values["attention_backend"] = Unknown("the attention backend")
        if path == "device":
            values["device"] = "cuda"
        cache[path] = Namespace(path, values, field)
    return cache[path]


def parallel(ev: Evaluator, values: dict[str, Any]) -> Any:
    """The parallel layout of one rank."""
    cache: dict[str, Namespace] = ev.bag_cache
    if "parallel" not in cache:

        def field(name: str) -> Any:
            found = _bag_field(ev, "parallel", name)
            return Unknown(f"parallel layout: {name}") if found is ABSENT else found

        cache["parallel"] = Namespace("parallel", dict(values), field)
    return cache["parallel"]


def record(ev: Evaluator, dotted: str) -> Any:
    """One shared instance of a record class of the source, at its defaults."""
    cache: dict[str, Any] = ev.bag_cache
    if dotted not in cache:
        module, _, name = dotted.rpartition(".")
        space = ev.space(module)
        cls = None if space is None else ev.module_name(space, name)
        if not isinstance(cls, Class):
            return Unknown(f"{dotted} is not in the source")
        cache[dotted] = ev.construct(cls, [], {}, cls.place)
    return cache[dotted]


def forward_flags(ev: Evaluator, dotted: str) -> Any:
    """Flags of one forward pass at the defaults of the source's `_DEFAULTS`."""
    cache: dict[str, Any] = ev.bag_cache
    if dotted not in cache:
        module, _, name = dotted.rpartition(".")
        space = ev.space(module)
        cls = None if space is None else ev.module_name(space, name)
        defaults = ev.class_attr(cls, "_DEFAULTS") if isinstance(cls, Class) else {}
        values = dict(defaults) if isinstance(defaults, dict) else {}
        cache[dotted] = Namespace(
            "forward flags", values, lambda name: Unknown(f"forward flag {name}")
        )
    return cache[dotted]


SHIMS: dict[str, Callable[..., Any]] = {
    "append_stages": append_stages,
    "bag": bag,
    "context": context,
    "final_norm": final_norm,
    "forward_flags": forward_flags,
    "make_layers": make_layers,
    "model_class": model_class,
    "parallel": parallel,
    "pp_indices": pp_indices,
    "read_output": read_output,
    "record": record,
    "server_args": server_args,
    "tensor": tensor,
}
