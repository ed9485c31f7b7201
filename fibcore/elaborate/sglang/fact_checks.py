"""Facts that the source contradicts: what they name is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.environment import Environment


def contradicted(ev: Evaluator, environment: Environment) -> Iterator[str]:
    """Warnings about facts that stood for something which this source does not have.

    Only what the elaboration came across is looked at: a module that it did not read may be one
    of other releases.
    """
    release = f"SGLang {environment.version}" if environment.version else "this SGLang"
    for name in environment.shims.server.undeclared:
        yield f"facts name {name}, which {release} does not have"
    for module, names in environment.expected.items():
        if not ev.modules.is_read(module):
            continue
        space = ev.modules.space(module)
        gone = [n for n in names if space is not None and not space.source.binding(n)]
        if gone:
            functions = "function" if len(gone) == 1 else "functions"
            yield f"facts name the {functions} {', '.join(gone)} of {module}, not in {release}"
