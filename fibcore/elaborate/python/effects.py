"""What may change a name of a module beside the statements that bind it.

Statements of a module are evaluated when one of their names is wanted. That comes to what Python
does as long as no statement changes what another one reads: `TABLE["a"] = 1`, a decorator that
enters functions into a table, a call of a function with a `global` statement. Where that may be so,
all statements that have to do with the name are run in the order of the file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

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
# `self.` comes first, so that the search jumps from one to the next.
_OF_SELF = re.compile(r"self\.(?<!\wself\.)(\w+)")
_CLASS_WORDS = ("cls", "__class__", "type(self)")
"""What stands for the class in its own methods."""


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
            if _changes_own_class(text):
                return True
            if "self." in text and _changes_own_tables(statement):
                return True
        elif f"setattr({name}," in text or _is_changed_in(text, name, part_of="."):
            return True
    return False


def _changes_own_class(text: str) -> bool:
    """Whether the text of a class has to do with what changes it."""
    if "__init_subclass__" in text or any(True for _ in _standing(text, "setattr(", "")):
        return True
    return any(_is_changed_in(text, word) for word in _CLASS_WORDS)


def _is_changed_in(text: str, word: str, *, part_of: str = "") -> bool:
    """Whether an attribute or item of what a word stands for is assigned to, or changed.

    Args:
        text: Source.
        word: A name, or what else is followed by a dot or bracket.
        part_of: A character in front of the word that makes it something else.
    """
    return any(
        _CHANGED.match(text, at + len(word)) is not None
        for after in ".["
        for at in _standing(text, word + after, part_of)
    )


def _standing(text: str, word: str, part_of: str) -> Iterator[int]:
    """Where a word begins in a text that is no end of a longer one."""
    dunder = word.startswith("__")  # what stands in front of it changes nothing
    at = text.find(word)
    while at >= 0:
        before = text[at - 1 : at]
        if not before or dunder or not (before.isalnum() or before == "_" or before == part_of):
            yield at
        at = text.find(word, at + 1)


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
        if tables and _changes_own(statement.text, tables):
            return True
    return False


def _changes_own(text: str, tables: list[str]) -> bool:
    """Whether one of these attributes of `self` is changed."""
    return any(
        attribute[1] in tables and _CHANGED.match(text, attribute.end()) is not None
        for attribute in _OF_SELF.finditer(text)
    )


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
