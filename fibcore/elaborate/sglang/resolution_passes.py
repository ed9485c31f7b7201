"""Server arguments that the source resolves before it constructs a model.

Some fields are declared as "auto", and a pass over all arguments decides what that means for the
model at hand: `run_post_process_pass(server_args, resolve_x)`, where the pass returns the fields
that it decides. Such a pass is elaborated like any other source.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Func, Namespace, Raised
from fibcore.elaborate.sglang.arguments import Args, Kwargs
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule

UNRESOLVED = "auto"
_FOLDER = "srt.arg_groups"
_RUN = re.compile(r"run_post_process_pass\((?<!\wrun_post_process_pass\()\s*\w+,\s*(\w+)\s*\)")


class ResolutionPasses:
    """The passes of one source tree, each run when a field that it alone decides is asked for.

    Args:
        read: Gives a server argument as it is declared.

    Attributes:
        config: The config of the model that is constructed; None until there is one.
    """

    def __init__(self, read: Callable[[Evaluator, str], Any]) -> None:
        self.config: Any = None
        self._read = read
        self._passes: dict[str, SourceModule] | None = None
        self._resolved: dict[str, Any] = {}

    def resolved(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """What a pass makes of a field that is declared as "auto".

        A field that no pass decides, or several do, stays as it is.
        """
        if name not in self._resolved:
            self._resolved[name] = UNRESOLVED  # for a pass that reads its own field
            deciding = [
                (module, function)
                for function, module in self._known(ev).items()
                if f'"{name}"' in _text_of(module, function)
            ]
            if len(deciding) == 1:
                self._resolved[name] = self._run(ev, *deciding[0], name, place)
        return self._resolved[name]

    def model_config(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`model_config_of(view)`: the config of the model that is constructed."""
        if self.config is None:
            return Unknown("the model's config", place)
        return Namespace(
            "model config", {"hf_config": self.config}, lambda n: Unknown(f"model_config.{n}")
        )

    def _known(self, ev: Evaluator) -> dict[str, SourceModule]:
        """The functions that are run as passes, and the modules that define them."""
        if self._passes is None:
            modules = list(_modules(ev))
            names = dict.fromkeys(n for m in modules for n in _RUN.findall(m.text))
            self._passes = {
                name: module for name in names for module in modules if _text_of(module, name)
            }
        return self._passes

    def _run(
        self, ev: Evaluator, module: SourceModule, function: str, name: str, place: SourcePlace
    ) -> Any:
        unknown = Unknown(f"server argument {name}, which {function} resolves", place)
        space = ev.modules.space(module.name)
        call = ABSENT if space is None else ev.modules.name_in(space, function)
        if self.config is None or not isinstance(call, Func):
            return unknown
        view = Namespace("server arguments", {"model_path": "model"}, lambda n: self._read(ev, n))
        try:
            declared = ev.calls.call(call, [view], {}, place)
        except Raised:
            return unknown
        if not isinstance(declared, dict):
            return unknown
        value = declared.get(name, UNRESOLVED)
        return unknown if isinstance(value, (Unknown, Alternatives)) else value


def _modules(ev: Evaluator) -> Iterator[SourceModule]:
    """The modules that hold passes or run them."""
    names = [f"{ev.index.package}.srt.server_args"]
    folder = ev.index.root.joinpath(*_FOLDER.split("."))
    names += [f"{ev.index.package}.{_FOLDER}.{p.stem}" for p in sorted(folder.glob("*.py"))]
    for name in names:
        module = ev.index.module(name)
        if module is not None:
            yield module


def _text_of(module: SourceModule, function: str) -> str:
    """The text of a function that a module defines; "" where it does not."""
    if f"def {function}(" not in module.text:
        return ""
    return "".join(s.text for s in module.binding(function) if s.names is not None)
