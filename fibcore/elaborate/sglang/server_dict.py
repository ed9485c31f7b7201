"""The dictionary of server arguments that older releases share between modules.

`global_server_args_dict` holds fields of `ServerArgs` as they are, but for those that the runner of
a model puts there in a form of its own: `global_server_args_dict.update({...} | {"moe_a2a_backend":
MoeA2ABackend(server_args.moe_a2a_backend)})`.
"""

from __future__ import annotations

import ast
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Env, Func, Namespace, Native, Raised
from fibcore.elaborate.sglang.arguments import Args, Kwargs
from fibcore.model.tree import SourcePlace, Unknown
from fibcore.syntax import parse_expression

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.elaborate.sglang.server_arguments import ServerArguments

_RUNNER = "srt.model_executor.model_runner"
_UPDATE = re.compile(
    r"^(?P<indent> +)global_server_args_dict\.update\((?P<of>.*?)^(?P=indent)\)",
    re.MULTILINE | re.DOTALL,
)


class _Shared(Namespace):
    """A dictionary of which only items are known, each by its key."""

    __slots__ = ()

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "get":
            return Native(name, lambda ev, args, kwargs, at: self.get_item(ev, args[0], at))
        return Unknown(f"{name} of the shared server arguments", place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        return Unknown("which server arguments are shared", place)


class ServerDict:
    """The dictionary of one elaboration.

    Args:
        server: The server's arguments.
    """

    def __init__(self, server: ServerArguments) -> None:
        self._server = server
        self._dict: Namespace | None = None
        self._own: dict[str, ast.expr] = {}

    def server_dict(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`global_server_args_dict`."""
        if self._dict is None:
            known = self._server.server_args(ev, args, kwargs, place)
            module = ev.index.module(f"{ev.index.package}.{_RUNNER}")
            self._own = {} if module is None else _own_forms(module)
            values: dict[str, Any] = {}
            self._dict = _Shared("server arguments", values, partial(self._value, ev, known))
        return self._dict

    def _value(self, ev: Evaluator, known: Namespace, name: str) -> Any:
        """A field as the runner puts it there, or as `ServerArgs` has it."""
        place = SourcePlace("server arguments", 1)
        expression = self._own.get(name)
        if expression is None:
            return ev.attributes.get(known, name, place)
        return self._evaluate(ev, known, expression, name)

    def _evaluate(self, ev: Evaluator, known: Namespace, expression: ast.expr, name: str) -> Any:
        space = ev.modules.space(f"{ev.index.package}.{_RUNNER}")
        assert space is not None
        env = Env(space, space.env)
        env.vars["server_args"] = known
        env.vars["self"] = Namespace(
            "the model's runner",
            {"server_args": known},
            lambda attribute: self._of_runner(ev, known, attribute),
        )
        try:
            return ev.expressions.eval(expression, env)
        except Raised as error:
            return Unknown(f"server argument {name}: {error.message}", error.place)

    def _of_runner(self, ev: Evaluator, known: Namespace, name: str) -> Any:
        """What the runner's constructor makes of server arguments alone."""
        cls = ev.modules.imported(f"{ev.index.package}.{_RUNNER}", "ModelRunner")
        init = ev.classes.attr(cls, "__init__") if isinstance(cls, Class) else ABSENT
        unknown = Unknown(f"{name} of the model's runner")
        if not isinstance(init, Func) or isinstance(init.node, ast.Lambda):
            return unknown
        for statement in init.node.body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) > 1:
                continue
            if ast.unparse(statement.targets[0]) == f"self.{name}" and _reads_arguments_alone(
                statement.value
            ):
                return self._evaluate(ev, known, statement.value, name)
        return unknown


def _own_forms(module: SourceModule) -> dict[str, ast.expr]:
    """Expressions of the fields that the runner puts into the dictionary, by key."""
    found: dict[str, ast.expr] = {}
    for match in _UPDATE.finditer(module.text):
        try:
            node = ast.Expression(parse_expression(f"({match['of'].strip().rstrip(',')})"))
        except SyntaxError:
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Dict):
                pairs = zip(part.keys, part.values, strict=True)
                found.update({str(k.value): v for k, v in pairs if isinstance(k, ast.Constant)})
    return found


def _reads_arguments_alone(expression: ast.expr) -> bool:
    """Whether an expression reads no name of a function but `server_args`."""
    names = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)}
    return "self" not in names and "server_args" in names
