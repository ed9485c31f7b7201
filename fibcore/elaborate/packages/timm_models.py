"""timm's models by their names.

`timm.create_model(name)` looks a function up that files of `timm/models` register when they are
imported, all of them. Here the file is found by its text, and it alone is read.
(timm/models/_registry.py, timm/models/_pretrained.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.values import ABSENT, Native, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_MODELS = "timm.models"
_KEEPING = (
    "register_model", "register_notrace_module", "register_notrace_function",
    "generate_default_cfgs",
)  # fmt: skip
_WRAPPER = "_create_timm_model_with_error_handling"


class TimmIndex(ModuleIndex):
    """The modules of timm."""

    def defining(self, name: str) -> str | None:
        """The module that registers a model of a name; None where none does."""
        words = (f"@register_model\ndef {name}(", f"@register_model\r\ndef {name}(")
        for path in sorted((self.root / "models").glob("[!_]*.py")):
            module = self.module(f"{_MODELS}.{path.stem}")
            if module is not None and any(word in module.text for word in words):
                return module.name
        return None


def functions(index: TimmIndex) -> dict[str, tuple[str, Native]]:
    """What stands for functions of timm's registry: by name, the modules that have it and what.

    Args:
        index: The modules of timm.
    """

    def is_model(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        name = _name(args, kwargs)
        return Unknown("a model's name", place) if name is None else _home(index, name) is not None

    def model_entrypoint(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        name = _name(args, kwargs)
        if name is None:
            return Unknown("a model by a name that is not known", place)
        home = _home(index, name)
        if home is None:
            raise Raised("KeyError", name, place)
        return ev.modules.imported(home, name)

    def get_pretrained_cfg(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        name = _name(args, kwargs)
        home = None if name is None else _home(index, name)
        if home is None:
            return Unknown("the settings of a model that is not known", place)
        return _settings(ev, home, str(args[0] if args else kwargs["model_name"]), place)

    def parse_model_name(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        found = args[0] if args else kwargs.get("model_name")
        if isinstance(found, str) and not {":", "/", "?", "#"} & set(found):
            return None, found  # a name alone, which is no address
        return Unknown("what a model's address names", place)

    def wrapped(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        """What transformers wraps around `create_model`: it rewords what that raises."""
        name = ev.attributes.get(args[0], "architecture", place)
        more = {k: v for k, v in kwargs.items() if k != "config"}
        create = ev.modules.imported("timm", "create_model")
        return ev.calls.call(create, [name], {"pretrained": False, **more}, place)

    found = {
        "parse_model_name": Native("parse_model_name", parse_model_name),
        "is_model": Native("is_model", is_model),
        "model_entrypoint": Native("model_entrypoint", model_entrypoint),
        "get_pretrained_cfg": Native("get_pretrained_cfg", get_pretrained_cfg),
        # They enter what they are given into tables that nobody else is asked for here.
        **{name: Native(name, lambda ev, args, kwargs, place: args[0]) for name in _KEEPING},
    }
    # Initial weights do not matter, and setting them goes through every module with a function.
    found["named_apply"] = Native("named_apply", _module)
    found["efficientnet_init_weights"] = Native("efficientnet_init_weights", lambda *_: None)
    return {
        _WRAPPER: ("transformers.models.timm_wrapper.", Native(_WRAPPER, wrapped)),
        **{name: ("timm.", function) for name, function in found.items()},
    }


def _module(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
    """`named_apply(fn, module)`, by which timm initialises weights: the module as it is."""
    return args[1] if len(args) > 1 else kwargs.get("module")


def _name(args: Any, kwargs: Any) -> str | None:
    """The name of an architecture, without the tag of its weights."""
    found = args[0] if args else kwargs.get("model_name")
    return found.partition(".")[0] if isinstance(found, str) else None


def _home(index: TimmIndex, name: str) -> str | None:
    return index.defining(name) if name.isidentifier() else None


def _settings(ev: Evaluator, home: str, name: str, place: SourcePlace) -> Any:
    """Settings of weights by name, or of an architecture: what its weights differ in is unknown."""
    table = ev.modules.imported(home, "default_cfgs")
    if not isinstance(table, dict):
        return Unknown(f"the settings of timm's {name}", place)
    # A star behind a name says that it is the first of several.
    named = {str(key).rstrip("*"): entry for key, entry in table.items()}
    entries = [v for k, v in named.items() if k == name]
    entries = entries or [v for k, v in named.items() if k.partition(".")[0] == name]
    if not all(isinstance(entry, dict) for entry in entries):
        return Unknown(f"the settings of timm's {name}", place)
    settings: dict[str, Any] = {}
    for key in dict.fromkeys(k for entry in entries for k in entry):
        values = [entry.get(key, ABSENT) for entry in entries]
        same = all(value == values[0] for value in values)
        settings[key] = values[0] if same else Unknown(f"{key}, of which weights differ", place)
    cls = ev.modules.imported(f"{_MODELS}._pretrained", "PretrainedCfg")
    return ev.calls.call(cls, [], settings, place)
