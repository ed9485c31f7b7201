"""TypeScript as far as a file of data needs it: parsing, literals, properties, constants.

Nothing is executed. What is not a literal, or a constant that is one, stays unknown.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from fibcore.errors import WebError
from fibcore.extras import need

if TYPE_CHECKING:
    from tree_sitter import Node, Parser


class NotLiteral:
    """The type of `NOT_LITERAL`."""

    def __repr__(self) -> str:
        return "a value that is no literal"


NOT_LITERAL: Final = NotLiteral()
"""What an expression is worth that only running it could tell."""

IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
"""A key that needs no quotes."""

_NAMES = ("identifier", "shorthand_property_identifier")
_WRAPPERS = (
    "parenthesized_expression",
    "as_expression",
    "satisfies_expression",
    "non_null_expression",
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


@attrs.frozen(eq=False)
class Property:
    """One member of an object literal.

    Attributes:
        key: Its key; None where only running the code could tell (a spread, `[computed]`).
        node: The whole member.
        value: Its value; None where it has none (a spread, a method).
    """

    key: str | None
    node: Node
    value: Node | None


@attrs.frozen(eq=False)
class Source:
    """A parsed file.

    Attributes:
        data: Its bytes.
        where: Its path, for messages.
        root: The syntax tree.
        constants: Name to value of every top-level `const`.
    """

    data: bytes
    where: str
    root: Node
    constants: dict[str, Node]

    def bytes_of(self, node: Node) -> bytes:
        """The bytes of a node."""
        return self.data[node.start_byte : node.end_byte]

    def text(self, node: Node) -> str:
        """The text of a node."""
        return self.bytes_of(node).decode("utf-8")

    def place(self, node: Node) -> str:
        """File and line of a node, from 1."""
        return f"{self.where}:{node.start_point[0] + 1}"

    def resolve(self, node: Node) -> Node:
        """The expression behind type assertions, parentheses and names of constants."""
        seen: set[str] = set()
        while True:
            node = self.unwrap(node)
            if node.type not in _NAMES:
                return node
            name = self.text(node)
            if name in seen or name not in self.constants:
                return node
            seen.add(name)
            node = self.constants[name]

    def unwrap(self, node: Node) -> Node:
        """The expression in `(x)`, `x as T`, `x satisfies T`, `x!`, `<T>x`, `Object.freeze(x)`."""
        while True:
            inner = members(node)
            if node.type == "type_assertion" and inner:
                node = inner[-1]
            elif node.type in _WRAPPERS and inner:
                node = inner[0]
            elif node.type == "call_expression":
                function = node.child_by_field_name("function")
                arguments = node.child_by_field_name("arguments")
                given = members(arguments) if arguments is not None else []
                frozen = function is not None and self.text(function) == "Object.freeze"
                if not frozen or len(given) != 1:
                    return node
                node = given[0]
            else:
                return node

    def literal(self, node: Node) -> Any:
        """The value of a literal (or of a constant that is one), else `NOT_LITERAL`.

        Strings, templates without substitutions, numbers, true, false and null.
        """
        node = self.resolve(node)
        if node.type in ("true", "false"):
            return node.type == "true"
        if node.type == "null":
            return None
        if node.type == "number":
            return _number(self.text(node))
        if node.type == "string" or (
            node.type == "template_string"
            and not any(c.type == "template_substitution" for c in node.children)
        ):
            return _unescaped(self.text(node)[1:-1], template=node.type == "template_string")
        return NOT_LITERAL

    def names_constant(self, node: Node) -> str | None:
        """The name that an expression consists of, if it is one."""
        bare = self.unwrap(node)
        return self.text(bare) if bare.type in _NAMES else None

    def properties(self, node: Node) -> list[Property]:
        """The members of an object literal, in order."""
        return [self._property(member) for member in members(node)]

    def _property(self, node: Node) -> Property:
        if node.type == "shorthand_property_identifier":
            return Property(self.text(node), node, node)
        if node.type == "pair":
            key = node.child_by_field_name("key")
            value = node.child_by_field_name("value")
            return Property(None if key is None else self._key(key), node, value)
        if node.type == "method_definition":
            name = node.child_by_field_name("name")
            return Property(None if name is None else self._key(name), node, None)
        return Property(None, node, None)

    def _key(self, node: Node) -> str | None:
        if node.type == "computed_property_name":
            inner = members(node)
            value = self.literal(inner[0]) if len(inner) == 1 else NOT_LITERAL
        elif node.type == "property_identifier":
            return self.text(node)
        else:
            value = self.literal(node)
        if isinstance(value, str):
            return value
        return str(value) if isinstance(value, int) else None

    def uses(self, name: str) -> int:
        """How often code in the file names a variable, its declaration included."""
        found = 0
        pattern = re.compile(rb"(?<![\w$])" + re.escape(name.encode()) + rb"(?![\w$])")
        for match in pattern.finditer(self.data):
            node = self.root.descendant_for_byte_range(match.start(), match.end())
            found += node is not None and node.type in _NAMES
        return found

    def line_start(self, position: int) -> int:
        """Where the line of a byte position begins."""
        return self.data.rfind(b"\n", 0, position) + 1

    def indentation(self, position: int) -> bytes:
        """The white space that the line of a byte position begins with."""
        start = self.line_start(position)
        end = start
        while self.data[end : end + 1] in (b" ", b"\t"):
            end += 1
        return self.data[start:end]

    def first_on_line(self, node: Node) -> bool:
        """Whether nothing but white space stands before a node on its line."""
        before = self.data[self.line_start(node.start_byte) : node.start_byte]
        return not before.strip(b" \t")


def members(node: Node) -> list[Node]:
    """The named children of a node, comments left out."""
    return [child for child in node.named_children if child.type != "comment"]


@functools.lru_cache(maxsize=1)
def _parser() -> Parser:
    need("web", "TypeScript files")
    import tree_sitter
    import tree_sitter_typescript

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_typescript.language_typescript()))


def parse(data: bytes, where: str) -> Source:
    """Parse a file.

    Raises:
        WebError: not UTF-8, or not TypeScript; with the line.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WebError(
            "not UTF-8 text", where=where, found=f"{error.reason} at byte {error.start}"
        ) from None
    root = _parser().parse(data).root_node
    if root.has_error:
        wrong = next(_errors(root), root)
        line = data[wrong.start_byte :].split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        raise WebError(
            "not TypeScript that can be read",
            where=f"{where}:{wrong.start_point[0] + 1}:{wrong.start_point[1] + 1}",
            found=repr(line[:60]),
            hint="correct the file first; nothing was changed",
        )
    return Source(data, where, root, dict(_constants(data, root)))


def _errors(top: Node) -> Iterator[Node]:
    left = [top]
    while left:
        node = left.pop()
        if node.is_error or node.is_missing:
            yield node
        elif node.has_error:
            left += reversed(node.children)


def declarators(root: Node) -> Iterator[tuple[Node, str]]:
    """Every top-level variable, and whether it is a `const`, `let` or `var`."""
    for statement in root.named_children:
        node: Node | None = statement
        if statement.type == "export_statement":
            node = statement.child_by_field_name("declaration")
        if node is None or node.type not in ("lexical_declaration", "variable_declaration"):
            continue
        kind = node.children[0].type
        for declarator in node.named_children:
            if declarator.type == "variable_declarator":
                yield declarator, kind


def _constants(data: bytes, root: Node) -> Iterator[tuple[str, Node]]:
    for declarator, kind in declarators(root):
        name = declarator.child_by_field_name("name")
        value = declarator.child_by_field_name("value")
        if kind == "const" and name is not None and name.type == "identifier" and value is not None:
            yield data[name.start_byte : name.end_byte].decode("utf-8"), value


def _number(text: str) -> int | float | NotLiteral:
    text = text.replace("_", "").removesuffix("n")
    try:
        return int(text, 10 if text.isdecimal() else 0)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return NOT_LITERAL
    return int(number) if number.is_integer() else number


def _unescaped(text: str, *, template: bool) -> str:
    """A string's content with its escape sequences resolved (ECMAScript, 12.9.4)."""

    def one(match: re.Match[str]) -> str:
        what = match[1]
        if what[0] == "u" and len(what) > 1:
            point = int(what[1:].strip("{}"), 16)
            return chr(point) if point <= sys.maxunicode else "\ufffd"
        if what[0] == "x" and len(what) == 3:
            return chr(int(what[1:], 16))
        if what in ("\n", "\r\n", "\r", "\u2028", "\u2029"):  # the line goes on
            return ""
        return _ESCAPES.get(what, what)

    if template:  # its line ends are LF, whatever the file's are
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    pattern = r"\\(u\{[0-9A-Fa-f]+\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|\r\n|.)"
    # Two \u of a surrogate pair are one character.
    joined = re.sub(pattern, one, text, flags=re.DOTALL)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
