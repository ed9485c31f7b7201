"""Environment variables that the server sets from its arguments before it constructs a model.

Releases hand some arguments to the processes of the model as variables, which their code then
requires: `os.environ["SGLANG_MAMBA_SSM_DTYPE"] = self.mamba_ssm_dtype`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Env, Func, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.server_arguments import ServerArguments

_SETTER = "_handle_environment_variables"
"""The method of `ServerArgs` that sets them."""


class ProcessVariables:
    """The variables of one elaboration; each is evaluated when it is asked for.

    Args:
        server: The server's arguments.
    """

    def __init__(self, server: ServerArguments) -> None:
        self._server = server
        self._known: dict[str, Any] = {}

    def value(self, ev: Evaluator, name: Any) -> Any:
        """The value of a variable; ABSENT where the server does not set it."""
        if not isinstance(name, str):
            return ABSENT
        if name not in self._known:
            self._known[name] = ABSENT  # for a value that asks for itself
            self._known[name] = self._evaluate(ev, name)
        return self._known[name]

    def _evaluate(self, ev: Evaluator, name: str) -> Any:
        module = ev.index.module(f"{ev.index.package}.srt.server_args")
        if module is None or f'os.environ["{name}"] = ' not in module.text:
            return ABSENT
        cls = ev.modules.imported(module.name, "ServerArgs")
        setter = ev.classes.attr(cls, _SETTER) if isinstance(cls, Class) else ABSENT
        if not isinstance(setter, Func) or isinstance(setter.node, ast.Lambda):
            return ABSENT
        place = setter.place
        for statement in setter.node.body:
            if isinstance(statement, ast.Assign) and _variable(statement) == name:
                env = Env(setter.env.module, setter.env)
                env.vars["self"] = self._server.server_args(ev, [], {}, place)
                try:
                    return ev.expressions.eval(statement.value, env)
                except Raised as error:
                    return Unknown(f"environment variable {name}: {error.message}", place)
        return ABSENT


def _variable(statement: ast.Assign) -> str | None:
    """The variable that an assignment to `os.environ["NAME"]` sets."""
    target = statement.targets[0]
    if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "os.environ":
        return str(target.slice.value) if isinstance(target.slice, ast.Constant) else None
    return None
