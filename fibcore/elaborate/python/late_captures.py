"""What functions that are made in a comprehension read when they are called."""

from __future__ import annotations

import ast

from fibcore.syntax import walk


def captures_late(element: ast.expr, targets: list[ast.expr]) -> bool:
    """Whether functions that an element makes read what a later round assigns anew."""
    names = {part.id for target in targets for part in walk(target) if isinstance(part, ast.Name)}
    lazy = [part for part in walk(element) if isinstance(part, ast.Lambda)]
    bodies: list[ast.AST] = [part.body for part in lazy]
    bodies += [element] if isinstance(element, ast.GeneratorExp) else []
    return any(
        isinstance(part, ast.Name) and part.id in names for body in bodies for part in walk(body)
    )
