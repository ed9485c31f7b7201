"""Options that annotations of fields declare: `tp_size: A[int, Arg(help="…", choices=[…])] = 1`.

`A` is `typing.Annotated`. A string beside the type is the help of an option with no further
settings; `Arg` has settings under names of its own; a field with neither, or with `no_cli`, is no
option. What the type says (`bool`: a switch; `List[int]`: several values; `Literal[…]`: choices)
follows the release's own `add_cli_args_from_dataclass`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.values import Class, Env, Ext
from fibcore.elaborate.sglang.argument_bags import argument_bags
from fibcore.model.tree import SourcePlace
from fibcore.syntax import parse_expression

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_METADATA = "Arg"
_ANNOTATED = ("A", "Annotated")
_SCALARS = {"int": "int", "float": "float", "str": "str"}


@attrs.frozen
class AnnotatedOption:
    """An option that a field declares.

    Attributes:
        names: Its spellings.
        settings: What `add_argument` would be given.
        place: Where the field is.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    place: SourcePlace


def annotated_options(ev: Evaluator, cls: Class) -> Iterator[AnnotatedOption]:
    """The options of a class's fields, or of the bags of fields that the class is made of."""
    bases = [base for base in reversed(cls.mro) if isinstance(base, Class)]
    bags = [bag for found in argument_bags(ev).values() for bag in found]
    for base in (*bases, *bags):
        for statement in base.node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                option = _option(ev, base, statement.target.id, statement)
                if option is not None:
                    yield option


def _option(
    ev: Evaluator, cls: Class, name: str, statement: ast.AnnAssign
) -> AnnotatedOption | None:
    annotation = _parsed(statement.annotation)
    if not isinstance(annotation, ast.Subscript) or _name(annotation.value) not in _ANNOTATED:
        return None
    parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
    given: dict[str, ast.expr] | None = None
    for part in parts[1:]:
        if isinstance(part, ast.Call) and _name(part.func) == _METADATA:
            given = {k.arg: k.value for k in part.keywords if k.arg is not None}
        elif given is None and isinstance(part, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            given = {}
    if given is None:
        return None
    env = cls.env
    metadata = {key: ev.expressions.eval(value, env) for key, value in given.items()}
    if metadata.get("no_cli"):
        return None
    spelling = metadata.get("cli_name") or "--" + name.replace("_", "-")
    settings: dict[str, Any] = {"dest": name, **_settings(ev, parts[0], metadata, env)}
    names = (spelling, *(metadata.get("aliases") or ()))
    return AnnotatedOption(names, settings, cls.env.module.place(statement))


def _settings(
    ev: Evaluator, declared: ast.expr, metadata: Mapping[str, Any], env: Env
) -> dict[str, Any]:
    """What `add_argument` is given for a type and its metadata."""
    if metadata.get("action") is not None:
        return {"action": metadata["action"], **(metadata.get("action_kwargs") or {})}
    kind = _without_none(_parsed(declared))
    parser = metadata.get("type_parser")
    found: dict[str, Any] = {k: metadata[k] for k in ("choices", "const") if metadata.get(k)}
    if isinstance(kind, ast.Subscript) and _name(kind.value) == "Literal":
        values = ev.expressions.eval(kind.slice, env)
        words = list(values) if isinstance(values, tuple) else [values]
        first = type(words[0]).__name__ if words else "str"
        return {"choices": words, **found, "type": parser or _scalar(first)}
    if _name(kind) == "bool":
        return {"action": "store_true"}
    several = isinstance(kind, ast.Subscript) and _name(kind.value) in ("List", "list")
    if parser is None and (several or _name(kind) in ("List", "list")):
        inner = _name(kind.slice) if isinstance(kind, ast.Subscript) else None
        return {"nargs": metadata.get("nargs") or "+", **found, "type": _scalar(inner)}
    if metadata.get("nargs"):
        found["nargs"] = metadata["nargs"]
    return {**found, "type": parser or _scalar(_name(kind))}


def _scalar(name: str | None) -> Ext:
    return Ext(f"builtins.{_SCALARS.get(name or '', 'str')}")


def _without_none(node: ast.expr) -> ast.expr:
    """X in `Optional[X]`, `Union[X, None]` and `X | None`; anything else as it is."""
    if isinstance(node, ast.Subscript) and _name(node.value) == "Optional":
        return node.slice
    options: list[ast.expr] = []
    if isinstance(node, ast.Subscript) and _name(node.value) == "Union":
        options = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        options = [node.left, node.right]
    rest = [o for o in options if not (isinstance(o, ast.Constant) and o.value is None)]
    return rest[0] if options and len(rest) == 1 else node


def _parsed(node: ast.expr) -> ast.expr:
    """An annotation, also where it is written as a string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return parse_expression(node.value)
        except SyntaxError:
            return node
    return node


def _name(node: ast.expr) -> str | None:
    """The last name of a dotted one."""
    return getattr(node, "attr", None) or getattr(node, "id", None)
