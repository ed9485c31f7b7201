"""Which class of transformers an Auto class takes for a config, by transformers' own mappings.

`AutoModel.from_config(config)` looks the class of the config up in a table of names, imports the
model's file and constructs the class that the table names there.
(_BaseAutoModelClass.from_config and _LazyAutoMapping, transformers/models/auto/auto_factory.py)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.packages.transformers_index import TransformersIndex
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.model.tree import SourcePlace

_CALL = re.compile(r"transformers(?:\.models\.auto(?:\.modeling_auto)?)?\.(Auto\w+)\.from_config")
_OPTIONS = ("attn_implementation", "dtype", "torch_dtype", "trust_remote_code")
"""Keywords that say how a model is made, and are none of its class's own."""


def from_config(
    ev: Evaluator,
    index: TransformersIndex,
    model_types: Mapping[str, str],
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    place: SourcePlace,
) -> Any:
    """The model that an Auto class makes of a config; ABSENT for any other call.

    Args:
        ev: Constructs it.
        index: The modules of transformers.
        model_types: Model types to config classes, as AutoConfig maps them.
        name: The dotted name that is called.
        args: The call's arguments.
        kwargs: Its keywords.
        place: Where it is called.
    """
    match = _CALL.fullmatch(name)
    config = args[0] if args else kwargs.get("config")
    if match is None or not isinstance(config, ConfigObject):
        return ABSENT
    if config.cls is not None:
        return Unknown(f"the model that {match[1]} has for {config.class_name}", place)
    found = model_class(ev, index, model_types, match[1], config)
    if isinstance(found, Unknown):
        return Unknown(found.reason, place)
    more = {k: v for k, v in kwargs.items() if k not in ("config", *_OPTIONS)}
    return ev.calls.call(found, [config, *args[1:]], more, place)


def model_class(
    ev: Evaluator,
    index: TransformersIndex,
    model_types: Mapping[str, str],
    auto: str,
    config: ConfigObject,
) -> Class | Unknown:
    """The class that an Auto class takes for a config, or why it is not known."""
    source = index.auto_module
    names = {} if source is None else _names(source, auto)
    kinds = [kind for kind, cls in model_types.items() if cls == config.class_name]
    # Of several model types with one config class, the last is asked for first.
    named = next((names[kind] for kind in (*kinds[-1:], *kinds) if kind in names), None)
    if isinstance(named, tuple):  # several classes: the one that the file names, else the first
        asked = config.values.get("architectures") or ()
        named = next((n for n in asked if n in named), named[0])
    if named is None:
        return Unknown(f"{auto} of transformers has no model for {config.class_name}")
    home = index.home("transformers", named)
    found = ABSENT if home is None else ev.modules.imported(home, named)
    return found if isinstance(found, Class) else Unknown(f"transformers' {named} is no class")


def _names(source: SourceModule, auto: str) -> dict[str, str | tuple[str, ...]]:
    """Model types and the names of their classes in the table of an Auto class."""
    mapping = _assigned(source, auto, "_model_mapping")
    lazy = _assigned(source, mapping.id) if isinstance(mapping, ast.Name) else None
    if not isinstance(lazy, ast.Call) or len(lazy.args) != 2:
        return {}
    table = lazy.args[1]
    value = _assigned(source, table.id) if isinstance(table, ast.Name) else None
    if not isinstance(value, ast.Call) or len(value.args) != 1 or value.keywords:
        return {}
    try:
        return dict(ast.literal_eval(value.args[0]))
    except (ValueError, TypeError):
        return {}


def _assigned(source: SourceModule, name: str, inner: str | None = None) -> ast.expr | None:
    """What is assigned to a name of a module, or in the body of a class of that name.

    None where that is not one plain assignment.
    """
    nodes = [node for statement in source.binding(name) for node in statement.nodes]
    if inner is not None:  # a later statement may wrap the class; its body stays
        nodes = [part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body]
    target = name if inner is None else inner
    found = [
        node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == target for t in node.targets)
    ]
    plain = len(found) == 1 and (inner is not None or len(nodes) == 1)
    return found[0] if plain else None
