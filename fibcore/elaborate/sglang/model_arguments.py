"""What SGLang constructs a model with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import Class, Env, Func, Namespace, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_CALL_ABOUT_THE_CLASS = re.compile(r"^    \w[\w.]*\(\s*model_class\b", re.MULTILINE)


def root_arguments(ev: Evaluator, cls: Class, config: Any, quant_config: Any) -> dict[str, Any]:
    """What SGLang's loader constructs a model with, by keyword (`_initialize_model`)."""
    init = ev.classes.attr(cls, "__init__")
    if not isinstance(init, Func):
        return {}
    spec = init.node.args
    names = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)][1:]
    given = {"config": config, "quant_config": quant_config}
    arguments: dict[str, Any] = dict(given) if spec.kwarg is not None else {}
    for name in names:
        if name in given:
            arguments[name] = given[name]
        elif name == "hf_config":
            arguments[name] = config
        elif name not in init.defaults:
            arguments[name] = Unknown(f"constructor argument {name}", cls.place)
    return arguments


def shared_experts(ev: Evaluator, cls: Class, config: Any, quant_config: Any) -> Any:
    """The layout of shared experts that the loader of newer sources settles before construction."""
    resolve = ev.modules.imported(
        f"{ev.index.package}.srt.layers.moe.utils", "resolve_shared_experts_config"
    )
    if not isinstance(resolve, Func):
        return Unknown("the layout of shared experts")
    try:
        return ev.calls.call_function(resolve, [cls, config, quant_config], {}, cls.place)
    except Raised as error:
        return Unknown(f"the layout of shared experts: {error.message}", error.place)


def settle(ev: Evaluator, cls: Class, config: Any, quant_config: Any) -> None:
    """Run what the loader calls about a model's class before it constructs the model.

    (`_initialize_model`: calls whose results it does not keep, and that are given the class; such
    a call settles whether shared experts are fused, and leaves it in the flags.)
    """
    space = ev.modules.space(f"{ev.index.package}.srt.model_loader.loader")
    if space is None or not _CALL_ABOUT_THE_CLASS.search(space.source.text):
        return  # not worth the parse of a long file
    init = ev.modules.name_in(space, "_initialize_model")
    if not isinstance(init, Func):
        return
    env = Env(space, space.env)
    env.vars["model_class"] = cls
    env.vars["quant_config"] = quant_config
    env.vars["model_config"] = Namespace(
        "model config", {"hf_config": config}, lambda name: Unknown(f"model_config.{name}")
    )
    try:
        ev.statements.block(list(_calls_about_the_class(init.node)), env)
    except Raised as error:
        why = f"what the loader settles before construction: {error.message}"
        ev.notes.append(Unknown(why, error.place))


def _calls_about_the_class(node: ast.AST) -> Iterator[ast.stmt]:
    for statement in getattr(node, "body", ()):
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and any(
            isinstance(a, ast.Name) and a.id == "model_class" for a in call.args
        ):
            yield statement
