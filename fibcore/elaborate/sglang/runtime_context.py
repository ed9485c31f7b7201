"""The process-wide context of SGLang's runtime: what it gives, and the flags that it resolves.

Some releases keep resolved server arguments as flags as well (`get_flags().ep_size`), under names
that a table of the source may change (`FLAG_LEAF_MAP`), and let a model declare new values of them
while it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Namespace, Native, Obj
from fibcore.elaborate.sglang.arguments import Args, Kwargs, argument
from fibcore.elaborate.sglang.server_arguments import ServerArguments
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_MODULE = "srt.runtime_context"
_LEAF_MAP = "FLAG_LEAF_MAP"
_SLOTS = ("parallel", "flags", "forward", "resources")
"""What `get_...()` functions of the module give of the context."""


class RuntimeContext:
    """The context of one elaboration.

    Args:
        server: The server's arguments.
    """

    def __init__(self, server: ServerArguments) -> None:
        self._server = server
        self._records: dict[str, Any] = {}
        self._overridden: dict[str, Any] = {}

    def context(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """The context itself: the server's arguments, their namespaces, and the flags."""
        known = {
            "server_args": self._server.server_args(ev, args, kwargs, place),
            "config_bag": Native("config_bag", self._bag),
            "record_runtime_overrides": Native("record_runtime_overrides", self._override),
            "override": Native("override", self._declare),
        }

        def slot(name: str) -> Any:
            if name in _SLOTS:
                getter = ev.modules.imported(f"{ev.index.package}.{_MODULE}", f"get_{name}")
                return ev.calls.call(getter, [], {}, place)
            return Unknown(f"{name} of the process's context")

        return Namespace("context", known, slot)

    def record(self, ev: Evaluator, dotted: str) -> Any:
        """One shared instance of a record class of the source.

        It has the class's defaults, and server arguments where it repeats them.
        """
        if dotted not in self._records:
            module, _, name = dotted.rpartition(".")
            cls = ev.modules.imported(module, name)
            if not isinstance(cls, Class):
                self._server.undeclared.append(f"the class {dotted}")
                self._records[dotted] = Unknown(f"{dotted} is not in the source")
                return self._records[dotted]
            made = ev.construction.construct(cls, [], {}, cls.place)
            self._records[dotted] = made
            if isinstance(made, Obj):
                for owner, leaf, field in self._leaves(ev, module, made):
                    given = self._overridden.get(field, ABSENT)
                    declared = self._server.argument(ev, field, cls.place)
                    owner.attrs[leaf] = declared if given is ABSENT else given
        return self._records[dotted]

    def _bag(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        name = argument(args, kwargs, 0, "name")
        if not isinstance(name, str):
            return Unknown("a namespace of server arguments", place)
        return self._server.bag(ev, name)

    def _declare(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`override(source, field=value)`: namespaces of arguments and the flags follow."""
        fields = {name: value for name, value in kwargs.items() if name != "source"}
        for name, value in fields.items():
            self._server.settle(ev, name, value)
            ev.writes.put(self._overridden, name, value)
        return self._override(ev, [[("", fields)]], {}, place)

    def _override(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`record_runtime_overrides([(source, {field: value})])`: the flags follow."""
        entries = argument(args, kwargs, 0, "entries", [])
        declared: dict[str, Any] = {}
        known = isinstance(entries, (list, tuple))
        for entry in entries if known else ():
            if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], dict):
                declared.update(entry[1])
            else:
                known = False
        for made in self._records.values():
            module = f"{ev.index.package}.{_MODULE}"
            for owner, leaf, field in self._leaves(ev, module, made):
                if not known:
                    why = f"{leaf}, which a declaration that is not known may change"
                    ev.attributes.set(owner, leaf, Unknown(why, place), place)
                elif field in declared:
                    ev.attributes.set(owner, leaf, declared[field], place)
        return entries

    def _leaves(self, ev: Evaluator, module: str, flags: Any) -> Iterator[tuple[Obj, str, str]]:
        """The flags that repeat server arguments: their group, their name, and the argument's."""
        space = ev.modules.space(module)
        paths = ABSENT if space is None else ev.modules.name_in(space, _LEAF_MAP)
        if not isinstance(paths, dict) or not isinstance(flags, Obj):
            return
        fields = {path: field for field, path in paths.items()}
        groups = {"": flags}
        groups.update({f"{n}.": v for n, v in flags.attrs.items() if isinstance(v, Obj)})
        for prefix, group in groups.items():
            for leaf in tuple(group.attrs):
                field = fields.get(f"{prefix}{leaf}", "" if prefix else leaf)
                if field and self._server.has(ev, field):
                    yield group, leaf, field
