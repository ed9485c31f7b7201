"""What may change a name of a module beside the statements that bind it.

Statements of a module are evaluated when one of their names is wanted. That comes to what Python
does as long as no statement changes what another one reads: `TABLE["a"] = 1`, a decorator that
enters functions into a table, a call of a function with a `global` statement. Where that may be so,
all statements that have to do with the name are run in the order of the file.
"""

from __future__ import annotations

import ast
import re

from fibcore.elaborate.python.index import SourceModule, Statement

_SUFFIX = r"(?:\.\w+|\[[^\]\n]*\])"
_CHANGING = (
    r"(?:append|extend|insert|update|add|setdefault|pop|popitem|clear|remove|discard|sort|reverse"
    r"|__setitem__|\w*register\w*)"
)
_CHANGE = (
    rf"(?:{_SUFFIX}+[ \t]*(?:[-+*/%&|^@]|//|\*\*|<<|>>)?=(?!=)|{_SUFFIX}*\.{_CHANGING}\()"
)  # fmt: skip
_CHANGED = re.compile(_CHANGE)
_CLASS_WORDS = ("cls.", "cls[", "__class__", "type(self)", "__init_subclass__", "setattr(")
_OF_CLASS = re.compile(
    rf"(?:\bcls|__class__|\btype\(self\)){_CHANGE}|__init_subclass__|\bsetattr\("
)


def changes_class(module: SourceModule, name: str) -> bool:
    """Whether something in a module may change a class of it, after its body was run."""
    known = module.changed_classes.get(name)
    if known is None:
        known = module.changed_classes[name] = _changes_class(module, name)
    return known


def _changes_class(module: SourceModule, name: str) -> bool:
    for statement in module.mentioning(name):
        text = statement.text
        if statement.defines(name):
            # The pattern is slow on long texts without what it begins with.
            if any(word in text for word in _CLASS_WORDS) and _OF_CLASS.search(text):
                return True
            if "self." in text and _changes_own_tables(statement):
                return True
        elif f"setattr({name}," in text or _is_changed_in(text, name):
            return True
    return False


def _is_changed_in(text: str, name: str) -> bool:
    """Whether an attribute or item of a name is assigned to, or changed by a method."""
    for after in ".[":
        at = text.find(name + after)
        while at >= 0:
            free = at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "_.")
            if free and _CHANGED.match(text, at + len(name)):
                return True
            at = text.find(name + after, at + 1)
    return False


def _changes_own_tables(statement: Statement) -> bool:
    """Whether methods change containers that stand in the body of their class."""
    for node in statement.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        tables = [
            target.id
            for inner in node.body
            if isinstance(inner, ast.Assign)
            and isinstance(inner.value, (ast.List, ast.Dict, ast.Set, ast.Call))
            for target in inner.targets
            if isinstance(target, ast.Name)
        ]
        if tables and re.search(rf"\bself\.(?:{'|'.join(tables)})\b{_CHANGE}", statement.text):
            return True
    return False


def related(module: SourceModule, name: str) -> tuple[Statement, ...]:
    """The statements that bind a name or may change, at import, what it holds, in order.

    By the text: functions and classes that mention the name, or one that does, may change it
    wherever they are used; what is assigned from it may be the same object.
    """
    known = module.related_statements.get(name)
    if known is None:
        known = module.related_statements[name] = _related(module, name)
    return known


def _related(module: SourceModule, name: str) -> tuple[Statement, ...]:
    statements = module.statements
    chosen = {s.position for s in module.binding(name)}
    # A name that nothing but a function binds has no first statement.
    first = min(chosen, default=-1)
    names = {name}.union(*(statements[p].bound for p in chosen if not statements[p].is_import))
    pending = list(names)
    while pending:
        wanted = pending.pop()
        for statement in module.mentioning(wanted):
            position = statement.position
            if statement.names is not None and not statement.names <= names:
                pending += statement.names - names
                names |= statement.names
            after = position > first and position not in chosen
            if after and not statement.is_import and wanted in statement.used_at_import:
                chosen.add(position)
                bound = statement.bound - names
                names |= bound
                pending += bound
    return tuple(statements[n] for n in sorted(chosen))
