"""Expressions of a constructor as expressions over attribute names.

`self.hidden_size // heads` becomes `hidden_size // num_attention_heads` where the local name
`heads` was assigned `self.num_attention_heads`. Whatever could mean something else by the time that
the summary is applied, or change something, is refused.
"""

from __future__ import annotations

import ast
import copy
from typing import Any

from fibcore.elaborate.transformers.summaries.draft import Draft
from fibcore.elaborate.transformers.summaries.summary import GIVEN, OWN, NotExpressibleError
from fibcore.elaborate.transformers.summaries.syntax import self_attribute
from fibcore.syntax import parse_expression

CHANGING = (
    "append",
    "difference_update",
    "extend",
    "insert",
    "pop",
    "remove",
    "setdefault",
    "update",
)
"""Methods that change what they are called on."""
LOST = "unclear"
"""The name of a local value that cannot be followed. Where it ends up inside of an expression, as
one branch of a condition does, the name is bound to nothing, and the expression is unknown."""

_BUILTINS = frozenset(
    (
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "getattr", "hasattr", "int"),
        *("isinstance", "len", "list", "max", "min", "range", "round", "set", "sorted", "str"),
        *("sum", "tuple", "type", "zip"),
    )
)
# Names that stand for classes of configs when a summary is applied.
_KEPT = frozenset(("CONFIG_MAPPING", "AutoConfig"))


class Rewriter(ast.NodeTransformer):
    """Rewrites an expression of a constructor into one over attribute names.

    Args:
        draft: The summary in the making.
        level: Which class of the lineage the expression stands in.
        local: The values of local names, over attribute names.
        kwargs: The name of the constructor's `**kwargs`; "" where it has none.
    """

    def __init__(
        self, draft: Draft, level: int, local: dict[str, ast.expr], kwargs: str = ""
    ) -> None:
        self.draft = draft
        self.lineage = draft.lineage
        self.level = level
        self.local = local
        self.kwargs = kwargs
        self.bound: list[set[str]] = []  # names of comprehensions, innermost last

    def visit(self, node: ast.AST) -> Any:
        """The rewritten node.

        Raises:
            NotExpressibleError: it has no such form.
        """
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            return self._comprehension(node)
        if isinstance(node, (ast.Lambda, ast.NamedExpr, ast.Await, ast.Yield)):
            raise NotExpressibleError(type(node).__name__)
        return super().visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = node.id
        if any(name in names for names in self.bound):
            return node
        if name in self.local:
            held = copy.deepcopy(self.local[name])
            if isinstance(held, ast.Name) and held.id == LOST:
                raise NotExpressibleError(name)
            return held
        if name == self.kwargs and name:
            return ast.Name(GIVEN, ast.Load())
        data = self.lineage.globals[min(self.level, len(self.lineage.globals) - 1)]
        if name in data:
            return parse_expression(repr(data[name]))
        if name == "Sequence":
            return parse_expression("(list, tuple)")
        if name in _BUILTINS or name in _KEPT or name.endswith("Config"):
            return node
        raise NotExpressibleError(name)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if self_attribute(node):
            name = self.lineage.kept(node.attr)
            if name in self.lineage.properties:
                value = self.lineage.property_value(name)
                inner: ast.expr = Rewriter(self.draft, self.level, {}).visit(value)
                return inner
            if name in ("sub_configs", "__class__", "to_dict") or name in self.draft.unclear:
                raise NotExpressibleError(name)
            return ast.Name(name, ast.Load())
        if ast.unparse(node).startswith("math."):
            return node
        return ast.Attribute(self.visit(node.value), node.attr, node.ctx)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if ast.unparse(node.value) == "self.sub_configs" and isinstance(node.slice, ast.Constant):
            return self.lineage.nested_class(node.slice.value)
        return ast.Subscript(self.visit(node.value), self.visit(node.slice), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        text = ast.unparse(node.func)
        if text in ("getattr", "hasattr") and ast.unparse(node.args[0]) == "self":
            return self._asked(text, node)
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if self.kwargs and owner == self.kwargs:
                return self._given(node.func.attr, node)
            # A method of the class may do anything.
            if owner == "self" or node.func.attr in CHANGING:
                raise NotExpressibleError(text)
        elif isinstance(node.func, ast.Name) and not (
            node.func.id in _BUILTINS or node.func.id.endswith("Config")
        ):
            raise NotExpressibleError(text)
        return ast.Call(
            self.visit(node.func),
            [self.visit(a) for a in node.args],
            [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords],
        )

    def _asked(self, function: str, node: ast.Call) -> ast.expr:
        """`getattr(self, ...)` and `hasattr(self, ...)`, by a look at all attributes."""
        asked = node.args[1]
        if not isinstance(asked, ast.Constant):
            raise NotExpressibleError(function)
        name = self.lineage.kept(str(asked.value))
        if name in self.lineage.properties or name in self.draft.unclear:
            raise NotExpressibleError(name)
        if function == "hasattr":
            return parse_expression(f"{name!r} in {OWN}")
        get = parse_expression(f"{OWN}.get({name!r})")
        assert isinstance(get, ast.Call)
        get.args += [self.visit(a) for a in node.args[2:]]
        return get

    def _given(self, method: str, node: ast.Call) -> ast.expr:
        """`kwargs.get(...)` and `kwargs.pop(...)`: a key of the file, which `pop` does not keep."""
        if method not in ("get", "pop") or not isinstance(node.args[0], ast.Constant):
            raise NotExpressibleError(ast.unparse(node.func))
        if method == "pop":
            self.draft.dropped.add(str(node.args[0].value))
        get = ast.Attribute(ast.Name(GIVEN, ast.Load()), "get", ast.Load())
        return ast.Call(get, [self.visit(a) for a in node.args], [])

    def _comprehension(self, node: Any) -> Any:
        names: set[str] = set()
        for part in node.generators:
            names |= {n.id for n in ast.walk(part.target) if isinstance(n, ast.Name)}
        self.bound.append(names)
        try:
            return self.generic_visit(node)
        finally:
            self.bound.pop()
