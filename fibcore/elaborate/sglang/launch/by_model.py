"""Arguments that the server switches on for models that it knows, whatever it was launched with.

Releases from 0.5.9 to 0.5.13 declare `enable_flashinfer_allreduce_fusion` as False, and switch it
on for architectures with support for it (`ServerArgs._handle_model_specific_adjustments`), where
the machine has it too. Of that handler the statements that assign such an argument are elaborated,
with the assignments of names before them; the others choose what is asked elsewhere.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values import ABSENT, Env, Func, Namespace, Native, Raised
from fibcore.elaborate.sglang.launch.declarations import server_args_class
from fibcore.elaborate.sglang.launch.resolution import STEPS, decided, model_config
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.server_arguments import ServerArguments

SWITCHED = ("enable_flashinfer_allreduce_fusion",)
"""The arguments of which kernels follow."""
_HANDLER = "_handle_model_specific_adjustments"
_PLACE = SourcePlace("server arguments", 1)


def switched_by_model(
    ev: Evaluator, server: ServerArguments, config: Namespace, architecture: str
) -> dict[str, Any]:
    """What the server makes of such arguments for a model, by name.

    Args:
        ev: The evaluator of the tree.
        server: The server's arguments as they are declared.
        config: The model's config.
        architecture: The model's class, for a config that does not name it.

    Returns:
        Only those that the source assigns; Unknown where that depends on what is not known here.
    """
    cls = server_args_class(ev)
    method = ABSENT if cls is None else ev.classes.attr(cls, _HANDLER)
    if not isinstance(method, Func) or isinstance(method.node, ast.Lambda):
        return {}
    found: dict[str, Any] = {}
    for name in SWITCHED:
        statements = [s for s in method.node.body if _names(s) or _assigns(s, name)]
        if any(_assigns(s, name) for s in statements):
            found[name] = _run(ev, server, config, architecture, method, statements, name)
    return found


def _run(
    ev: Evaluator,
    server: ServerArguments,
    config: Namespace,
    architecture: str,
    method: Func,
    statements: list[ast.stmt],
    name: str,
) -> Any:
    declared = server.argument(ev, name, _PLACE)
    served = config.copy({"architectures": [architecture], **config.values})
    of_model = Native("get_model_config", lambda *_: model_config(served))
    known = Namespace(
        "server arguments",
        {"get_model_config": of_model, name: declared},
        lambda asked: server.argument(ev, asked, _PLACE),
    )
    env = Env(method.env.module, method.env, method)
    env.vars["self"] = known
    try:
        with ev.budget.at_most(STEPS):
            ev.statements.block(statements, env)
    except (Raised, Exhausted) as error:
        return Unknown(f"server argument {name}, which {_HANDLER} may set: {error}", method.place)
    return decided(name, known.values[name], declared, given=False)


def _names(statement: ast.stmt) -> bool:
    """Whether a statement gives a local variable a value."""
    return isinstance(statement, ast.Assign) and all(
        isinstance(target, ast.Name) for target in statement.targets
    )


def _assigns(statement: ast.stmt, name: str) -> bool:
    """Whether a statement, or one in it, assigns an argument."""
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == name
        for node in ast.walk(statement)
    )
