"""Names in a quantisation config, as SGLang's loader maps them to those of its own modules.

A checkpoint names its layers after the module tree that it was made with. The loader hands the
model class's `packed_modules_mapping` to the quantisation config, and its `hf_to_sglang_mapper` to
`apply_weight_name_mapper`; which of them there are, and how they come about, differs by release,
so the loader's own statements are run (`_get_quantization_config` in `model_loader/loader.py`).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.values import (
    Class,
    Env,
    Func,
    Namespace,
    Native,
    Obj,
    Raised,
)
from fibcore.model.tree import Unknown
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_PACKED = "packed_modules_mapping"
_APPLY = "apply_weight_name_mapper"


@attrs.frozen
class WeightNames:
    """What the loader knows of a model class's names.

    Args:
        evaluator: The evaluator of the source tree.
        model: The model's class.
        config: The model's config, as the loader has settled it.
        method: SGLang's name of the quantisation method.
    """

    evaluator: Evaluator
    model: Class
    config: Any
    method: str

    def packed_modules(self) -> dict[str, Any]:
        """The names of layers that hold several layers of the checkpoint, and those of the parts.

        Raises:
            Raised: the loader raises.
        """
        scope = self._scope(None)
        if scope is None:
            found = self.evaluator.classes.attr(self.model, _PACKED)
        else:
            env, function = scope
            block = [s for s in function.body if _mentions(s, _PACKED) and not _returns(s)]
            self.evaluator.statements.block(block, env)
            found = env.vars.get(_PACKED)
        return found if isinstance(found, dict) else {}

    def apply(self, quant_config: Obj) -> Unknown | None:
        """Let a quantisation config map the names that it holds.

        Returns:
            Why the names are not known; None where they are.
        """
        mapper = self.mapper()
        if mapper is None or isinstance(mapper, Unknown):
            return mapper
        try:
            method = self.evaluator.attributes.get(quant_config, _APPLY, self.model.place)
            self.evaluator.calls.call(method, [mapper], {}, self.model.place)
        except Raised as error:
            return Unknown(f"the mapping of layer names: {error.message}", error.place)
        return None

    def listed(self, names: list[str]) -> list[str] | Unknown:
        """The names of a list, mapped."""
        mapper = self.mapper()
        if isinstance(mapper, Unknown):
            return mapper
        if mapper is None:
            return names
        place = self.model.place
        try:
            method = self.evaluator.attributes.get(mapper, "apply_list", place)
            found = self.evaluator.calls.call(method, [list(names)], {}, place)
        except Raised as error:
            return Unknown(f"the mapping of layer names: {error.message}", error.place)
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return found
        return Unknown("the mapping of layer names", place)

    def mapper(self) -> Any:
        """What the loader hands to a quantisation config; None where it hands it nothing."""
        given: list[Any] = []
        keep = Native(_APPLY, lambda ev, args, kwargs, place: given.extend(args))
        listener = Namespace("quantisation config", {_APPLY: keep})
        found = self._scope(listener)
        if found is None:
            return None
        env, function = found
        try:
            self.evaluator.statements.block(_leading_to(function, _APPLY), env)
        except Raised as error:
            return Unknown(f"the mapping of layer names: {error.message}", error.place)
        return given[-1] if given else None

    def _scope(self, quant_config: Namespace | None) -> tuple[Env, ast.FunctionDef] | None:
        """The loader's function, and a scope in which its statements can be run."""
        ev = self.evaluator
        space = ev.modules.space(f"{ev.index.package}.srt.model_loader.loader")
        if space is None:
            return None
        loader = ev.modules.name_in(space, "_get_quantization_config")
        if not isinstance(loader, Func) or not isinstance(loader.node, ast.FunctionDef):
            return None
        env = Env(space, space.env)
        env.vars["model_class"] = self.model
        env.vars["quant_config"] = quant_config
        env.vars["model_config"] = Namespace(
            "model config",
            {"hf_config": self.config, "quantization": self.method},
            lambda name: Unknown(f"model_config.{name}"),
        )
        return env, loader.node


def _leading_to(function: ast.FunctionDef, method: str) -> list[ast.stmt]:
    """The statement that calls a method, and those before it that make what it uses.

    A statement belongs to them where it stands in the same block and assigns a name that one of the
    later ones reads.
    """
    block = _block_of(function, method)
    wanted: set[str] = set()
    kept: list[ast.stmt] = []
    for statement in reversed(block):
        if not kept and not _mentions(statement, method):
            continue
        if kept and not wanted & _assigned(statement):
            continue
        kept.append(statement)
        wanted |= _names(statement, ast.Load)
        wanted -= {"quant_config", "model_config", "model_class"}
    return kept[::-1]


def _block_of(node: ast.AST, method: str) -> list[ast.stmt]:
    """The outermost block in which a statement follows others that it depends on."""
    body: list[ast.stmt] = list(getattr(node, "body", ()))
    for statement in body:
        if not _mentions(statement, method):
            continue
        inner = _block_of(statement, method) if isinstance(statement, ast.If) else []
        # An `if` around the call alone is a part of what is run.
        return inner if len(inner) > 1 else body
    return []


def _mentions(node: ast.AST, name: str) -> bool:
    return any(
        (isinstance(n, ast.Name) and n.id == name)
        or (isinstance(n, ast.Attribute) and n.attr == name)
        for n in walk(node)
    )


def _returns(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Return) for n in walk(node))


def _assigned(node: ast.AST) -> set[str]:
    return _names(node, ast.Store)


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {n.id for n in walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}
