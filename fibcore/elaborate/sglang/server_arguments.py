"""The server's arguments at their defaults, as the source declares them.

Older releases have one class, `ServerArgs`; later ones mark its fields with the namespaces that
they are read from, and newer ones cut it into bags of fields (`srt/arg_groups/fields`), each with
the path of the namespace it fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Bound, Class, Func, Namespace, Native, Obj
from fibcore.elaborate.sglang.argument_bags import argument_bags
from fibcore.elaborate.sglang.argument_namespaces import marked_namespaces
from fibcore.elaborate.sglang.arguments import Args, Kwargs
from fibcore.elaborate.sglang.resolution_passes import UNRESOLVED, ResolutionPasses
from fibcore.model.launch import Launch
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_SAMPLING_BACKEND = "flashinfer"
"""What the default comes to where FlashInfer is installed, which the facts say."""


class ServerArguments:
    """Reads the server's arguments from the source, each once.

    Args:
        tp: The tensor-parallel size.
        ep: The expert-parallel size.
        launch: Options that the server was launched with; None for the source's defaults.

    Attributes:
        asked: The arguments that the source read, of those that the launch gives.
        shared_experts: The layout of shared experts, which the loader of newer sources settles
            before it constructs the model.
        passes: What resolves arguments that are declared as "auto".
        switched: Arguments that the server gives another value for the model, by name.
        undeclared: Namespaces and classes that were asked for, and that the source does not have.
    """

    def __init__(self, *, tp: int, ep: int, launch: Launch | None = None) -> None:
        self._tp, self._ep = tp, ep
        self._given: dict[str, Any] = {} if launch is None else dict(launch.arguments)
        for name, size in (("tp_size", tp), ("ep_size", ep)):
            if name in self._given:
                self._given[name] = size  # the same number, which remembers its origin
        self.asked: set[str] = set()
        self.shared_experts: Any = Unknown("the layout of shared experts")
        self.undeclared: list[str] = []
        self.passes = ResolutionPasses(self._declared)
        self.switched: dict[str, Any] = {}
        self._all: Namespace | None = None
        self._bags: dict[str, list[Class]] | None = None
        self._marked: dict[str, frozenset[str]] | None = None
        self._parallel: Namespace | None = None
        self._by_path: dict[str, Namespace] = {}
        self._objects: dict[str, Any] = {}

    def server_args(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`get_server_args()`: serving sizes, else the defaults of `ServerArgs`."""
        if self._all is not None:
            return self._all
        values = {
            "tp_size": self._tp,
            "ep_size": self._ep,
            "dp_size": 1,
            "pp_size": 1,
            "device": "cuda",
            "attention_backend": Unknown("the attention backend"),
            "prefill_attention_backend": Unknown("the attention backend"),
            "decode_attention_backend": Unknown("the attention backend"),
            "sampling_backend": _SAMPLING_BACKEND,
            "page_size": Unknown("the page size"),
            "model_path": Unknown("the model's path"),
        }
        values.update(self._given)
        if "attention_backend" in self._given:  # holds for both stages unless they have their own
            for name in ("prefill_attention_backend", "decode_attention_backend"):
                values[name] = self._given.get(name)

        def default(name: str) -> Any:
            cls = _server_args_class(ev)
            if cls is not None:
                found = ev.classes.attr(cls, name)
                if isinstance(found, Func):
                    if name == "override":  # writes what a model settles while it is loaded
                        return Native(name, lambda _, args, given, at: values.update(given))
                    bound = Bound(found, known)
                    return (
                        ev.calls.call(bound, [], {}, place) if found.kind == "property" else bound
                    )
                if found is not ABSENT:
                    return self._resolved(ev, name, found)
            for path in self._classes(ev):
                found = self._field(ev, path, name)
                if found is not ABSENT:
                    return found
            return Unknown(f"server argument {name}")

        self._all = known = _Arguments("server arguments", values, default)
        known.asked = self.asked
        return known

    def has(self, ev: Evaluator, name: str) -> bool:
        """Whether the source declares a server argument of this name."""
        cls = _server_args_class(ev)
        return cls is not None and ev.classes.attr(cls, name) is not ABSENT

    def argument(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """One server argument: a serving size, or what the source declares."""
        return ev.attributes.get(self.server_args(ev, [], {}, place), name, place)

    def _classes(self, ev: Evaluator) -> dict[str, list[Class]]:
        """The classes of server-argument fields, by namespace path."""
        if self._bags is None:
            self._bags = argument_bags(ev)
        return self._bags

    def _field(self, ev: Evaluator, bag: str, name: str) -> Any:
        if name in self._given and self._declares(ev, bag, name):
            self.asked.add(name)
            return self._given[name]
        for cls in self._classes(ev).get(bag, ()):
            found = ev.classes.attr(cls, name)
            if found is not ABSENT:
                if isinstance(found, Obj) and found.class_name == "Derived":
                    return Unknown(f"{bag}.{name}, which is computed when the server starts")
                return self._resolved(ev, name, found)
        if name in self._marks(ev).get(bag, ()):
            return self.argument(ev, name, SourcePlace("server arguments", 1))
        return ABSENT

    def _declares(self, ev: Evaluator, bag: str, name: str) -> bool:
        """Whether a namespace has a field of this name."""
        return name in self._marks(ev).get(bag, ()) or any(
            ev.classes.attr(cls, name) is not ABSENT for cls in self._classes(ev).get(bag, ())
        )

    def _resolved(self, ev: Evaluator, name: str, declared: Any) -> Any:
        """A field as the server has it when it constructs a model."""
        if name in self.switched:
            return self.switched[name]
        if declared != UNRESOLVED:
            return declared
        return self.passes.resolved(ev, name, SourcePlace("server arguments", 1))

    def _declared(self, ev: Evaluator, name: str) -> Any:
        return self.argument(ev, name, SourcePlace("server arguments", 1))

    def _marks(self, ev: Evaluator) -> dict[str, frozenset[str]]:
        """The fields of `ServerArgs` by the namespace that their annotations name."""
        if self._marked is None:
            # Where there are classes of fields, nothing is left for annotations to say.
            cls = None if self._classes(ev) else _server_args_class(ev)
            self._marked = {} if cls is None else marked_namespaces(cls)
        return self._marked

    def _has_bag(self, ev: Evaluator, path: str) -> bool:
        """Whether the source declares a namespace, or one inside of it."""
        return any(
            p == path or p.startswith(f"{path}.") for p in (*self._classes(ev), *self._marks(ev))
        )

    def bag(self, ev: Evaluator, path: str) -> Any:
        """A namespace of resolved server arguments, at the defaults that the source declares."""
        if path not in self._by_path:
            if not self._has_bag(ev, path):
                self.undeclared.append(f"the namespace {path} of server arguments")

            def field(name: str) -> Any:
                if (path, name) == ("model", "shared_experts"):
                    return self.shared_experts  # settled later than others are read
                found = self._field(ev, path, name)
                if found is not ABSENT:
                    return found
                inner = f"{path}.{name}"
                if self._has_bag(ev, inner):
                    return self.bag(ev, inner)
                return Unknown(f"server argument {inner}")

            values: dict[str, Any] = {}
            if path == "model":
                values["model_path"] = Unknown("the model's path")
            if path == "exec.kernel":
                values["attention_backend"] = Unknown("the attention backend")
                values["sampling_backend"] = _SAMPLING_BACKEND
            if path == "device":
                values["device"] = "cuda"
            for name in [name for name in values if name in self._given]:
                del values[name]
            self._by_path[path] = Namespace(path, values, field)
        return self._by_path[path]

    def settle(self, ev: Evaluator, name: str, value: Any) -> None:
        """Give an argument another value in the namespace that has it; the arguments stay."""
        paths = [path for path, names in self._marks(ev).items() if name in names]
        paths += [path for path in self._classes(ev) if self._field(ev, path, name) is not ABSENT]
        for path in dict.fromkeys(paths):
            ev.writes.put(self.bag(ev, path).values, name, value)

    def parallel(self, ev: Evaluator, values: dict[str, Any]) -> Any:
        """The parallel layout of one rank."""
        if self._parallel is None:

            def field(name: str) -> Any:
                if name == "_config":  # the sizes as the user gave them
                    return self.bag(ev, "parallel")
                found = self._field(ev, "parallel", name)
                return Unknown(f"parallel layout: {name}") if found is ABSENT else found

            self._parallel = Namespace("parallel", dict(values), field)
        return self._parallel

    def forward_flags(self, ev: Evaluator, dotted: str) -> Any:
        """Flags of one forward pass at the defaults of the source's `_DEFAULTS`."""
        if dotted not in self._objects:
            module, _, name = dotted.rpartition(".")
            cls = _class(ev, module, name)
            if cls is None:
                self.undeclared.append(f"the class {dotted}")
            defaults = {} if cls is None else ev.classes.attr(cls, "_DEFAULTS")
            values = dict(defaults) if isinstance(defaults, dict) else {}
            self._objects[dotted] = Namespace(
                "forward flags", values, lambda name: Unknown(f"forward flag {name}")
            )
        return self._objects[dotted]


class _Arguments(Namespace):
    """The server's arguments, which write down what is read of them."""

    __slots__ = ("asked",)
    asked: set[str]

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        self.asked.add(name)
        return super().find_attr(ev, name, place)


def _server_args_class(ev: Evaluator) -> Class | None:
    return _class(ev, f"{ev.index.package}.srt.server_args", "ServerArgs")


def _class(ev: Evaluator, module: str, name: str) -> Class | None:
    """A class of the source; None where the source has no such."""
    space = ev.modules.space(module)
    found = None if space is None else ev.modules.name_in(space, name)
    return found if isinstance(found, Class) else None
