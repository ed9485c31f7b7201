"""Groups of exceptions, and how `except*` divides them."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import Ext, Raised
from fibcore.elaborate.python.values.exceptions import ExceptionObject, exception_bases
from fibcore.model.tree import SourcePlace

Divided = tuple[ExceptionObject | None, ExceptionObject | None]
"""What matches of an exception, and what is left of it."""


class ExceptionGroups(Part):
    """Divides exceptions and puts them together."""

    def split(
        self, value: ExceptionObject, kinds: Any, node: ast.expr | None, place: SourcePlace
    ) -> Divided:
        """The part of an exception, or of a group, that is of some classes, and the rest."""
        error = Raised(value.class_name, "", place, value=value)
        answer = self.ev.exceptions.catches(kinds, error, node, place)
        value.raised = None if value.raised is error else value.raised
        if answer:
            return value, None
        parts = value.state.get("exceptions")
        if "BaseExceptionGroup" not in exception_bases(value.cls) or not isinstance(parts, tuple):
            return None, value
        found: list[ExceptionObject] = []
        left: list[ExceptionObject] = []
        for part in parts:
            if not isinstance(part, ExceptionObject):
                continue
            inside, outside = self.split(part, kinds, node, place)
            found += [inside] if inside is not None else []
            left += [outside] if outside is not None else []
        if not found or not left:
            return (None, value) if not found else (value, None)
        message = value.state["message"]
        return self.wrapped(message, found, place), self.wrapped(message, left, place)

    def wrapped(
        self, message: Any, parts: list[ExceptionObject], place: SourcePlace
    ) -> ExceptionObject:
        """A group of exceptions."""
        plain = all("Exception" in exception_bases(part.cls) for part in parts)
        name = "ExceptionGroup" if plain else "BaseExceptionGroup"
        return ExceptionObject(Ext(name), (message, list(parts)), place)
