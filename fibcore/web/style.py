"""How a file of data is written: quotes, indentation, commas; and values written like that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.web.typescript import IDENTIFIER, Source, members

if TYPE_CHECKING:
    from tree_sitter import Node

_SCALARS = ("id", "name", "description", "count", "parent", "type", "definitions", "modules")


@attrs.frozen
class Style:
    r"""The style of a file.

    Attributes:
        eol: `\n` or `\r\n`.
        unit: One step of indentation.
        quote: The quote of strings: `"`, `'` or a backtick.
        key_quote: The quote of keys that have one.
        quoted: Whether the keys of the schema (`count`) are quoted although they need not be.
        quoted_names: Whether names of modules are.
        trailing: Whether the last member of an object over several lines has a comma.
        inline: Whether a module is an object on one line, where it fits.
        padded: Whether objects on one line have spaces inside of their braces.
        width: Columns in which such a line has to fit.
    """

    eol: str = "\n"
    unit: str = "  "
    quote: str = '"'
    key_quote: str = '"'
    quoted: bool = False
    quoted_names: bool = False
    trailing: bool = True
    inline: bool = True
    padded: bool = True
    width: int = 80

    def string(self, text: str) -> str:
        """A string literal."""
        return _string(text, self.quote)

    def key(self, name: str, *, module: bool = False) -> str:
        """A key."""
        always = self.quoted_names if module else self.quoted
        if IDENTIFIER.fullmatch(name) and not always:
            return name
        return _string(name, self.key_quote)

    def value(self, value: Any, indent: str = "", column: int = 0, depth: int = 0) -> str:
        """A value as it stands after its key.

        Args:
            value: A string, a number, a list of strings, or a mapping of such.
            indent: The indentation of the line on which it begins.
            column: Columns of that line that are taken already.
            depth: 0 for an entry, 1 for its modules, 2 for one module.
        """
        if isinstance(value, Mapping):
            return self._object(value, indent, column, depth)
        if isinstance(value, (list, tuple)):
            return self._array(value, indent, column)
        return self.string(value) if isinstance(value, str) else str(value)

    def member(
        self, key: str, value: Any, indent: str, *, depth: int = 0, module: bool = False
    ) -> str:
        """A member of an object, without indentation in front and comma behind."""
        head = f"{self.key(key, module=module)}: "
        return head + self.value(value, indent, _width(indent) + len(head), depth)

    def _object(self, value: Mapping[str, Any], indent: str, column: int, depth: int) -> str:
        if not value:
            return "{}"
        if depth >= 2 and self.inline:
            parts = ", ".join(f"{self.key(k)}: {self.value(v)}" for k, v in value.items())
            line = f"{{ {parts} }}" if self.padded else f"{{{parts}}}"
            if "\n" not in line and column + len(line) + 1 <= self.width:
                return line
        within = indent + self.unit
        lines = [
            within + self.member(k, v, within, depth=depth + 1, module=depth == 1)
            for k, v in value.items()
        ]
        return self._lines("{", lines, indent, "}")

    def _array(self, value: Sequence[str], indent: str, column: int) -> str:
        line = "[" + ", ".join(self.string(item) for item in value) + "]"
        if len(value) < 2 or not indent or column + len(line) + 1 <= self.width:
            return line
        within = indent + self.unit
        return self._lines("[", [within + self.string(item) for item in value], indent, "]")

    def _lines(self, opening: str, lines: Sequence[str], indent: str, closing: str) -> str:
        end = "," if self.trailing else ""
        inside = f",{self.eol}".join(lines)
        return f"{opening}{self.eol}{inside}{end}{self.eol}{indent}{closing}"


def _width(indent: str) -> int:
    return sum(4 if c == "\t" else 1 for c in indent)


def _string(text: str, quote: str) -> str:
    if quote in text and quote != "`":
        other = "'" if quote == '"' else '"'
        quote = quote if other in text else other  # fewer escapes
    text = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    if quote == "`":
        text = text.replace("${", "\\${")
    for plain, escaped in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    text = re.sub(r"[\x00-\x1f\u2028\u2029]", lambda m: f"\\u{ord(m[0]):04x}", text)
    return f"{quote}{text}{quote}"


def style_of(source: Source, nodes: Sequence[Node]) -> Style:
    """The style of some nodes of a file, each question by majority.

    What they do not show has a default, and the indentation that of the file's other lines.
    """
    seen = _Seen(source)
    for node in nodes:
        seen.look_at(node)
    plain = Style()
    quotes = seen.quotes or seen.key_quotes
    quote = _most(quotes) or plain.quote
    key_quote = _most(seen.key_quotes) or (quote if quote != "`" else plain.key_quote)
    crlf = source.data.count(b"\r\n")
    return Style(
        eol="\r\n" if crlf * 2 > source.data.count(b"\n") else "\n",
        unit=_most(seen.units) or _unit(source) or plain.unit,
        quote=quote,
        key_quote=key_quote,
        quoted=seen.quoted["schema"] > seen.bare["schema"],
        quoted_names=seen.quoted["module"] > seen.bare["module"],
        trailing=_yes(seen.trailing, plain.trailing),
        inline=_yes(seen.inline, plain.inline),
        padded=_yes(seen.padded, plain.padded),
        width=min(max(seen.width, plain.width), 120),
    )


class _Seen:
    """What was seen of a style, counted."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.quotes: Counter[str] = Counter()
        self.key_quotes: Counter[str] = Counter()
        self.quoted: Counter[str] = Counter()
        self.bare: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.trailing: Counter[bool] = Counter()
        self.inline: Counter[bool] = Counter()
        self.padded: Counter[bool] = Counter()
        self.width = 0

    def look_at(self, top: Node) -> None:
        for node, is_key in _walk(top):
            if node.type in ("string", "template_string"):
                quote = self.source.text(node)[0]
                (self.key_quotes if is_key else self.quotes)[quote] += 1
            if node.type == "pair":
                self._pair(node)
            if node.type in ("object", "array"):
                self._brackets(node)
        for row in self.source.bytes_of(top).split(b"\n"):
            if b"{ " in row:  # long descriptions say nothing of objects
                self.width = max(self.width, len(row.rstrip().expandtabs(4)))

    def _pair(self, node: Node) -> None:
        key = node.child_by_field_name("key")
        value = node.child_by_field_name("value")
        if key is None or value is None:
            return
        value = self.source.unwrap(value)
        text = self.source.text(key).strip("\"'")
        if not IDENTIFIER.fullmatch(text):
            return
        kind = "schema" if text in _SCALARS else "module"
        (self.quoted if key.type == "string" else self.bare)[kind] += 1
        if kind == "module" and value.type == "object" and members(value):
            self.inline[value.start_point[0] == value.end_point[0]] += 1

    def _brackets(self, node: Node) -> None:
        inside = members(node)
        if not inside:
            return
        first, last = inside[0], inside[-1]
        if node.start_point[0] == node.end_point[0]:
            if node.type == "object":
                self.padded[first.start_byte > node.start_byte + 1] += 1
            return
        if last.end_point[0] != node.end_point[0]:
            following = [c.type for c in node.children if c.start_byte >= last.end_byte]
            self.trailing["," in following] += 1
        if self.source.first_on_line(first):
            outer = self.source.indentation(node.start_byte)
            inner = self.source.indentation(first.start_byte)
            if inner.startswith(outer) and inner != outer:
                self.units[inner[len(outer) :].decode()] += 1


def _walk(top: Node) -> Iterator[tuple[Node, bool]]:
    """A node and those below it in the order of the text, and whether each is a key."""
    left = [(top, False)]
    while left:  # no recursion: a sum of a thousand strings is nested as deeply
        node, is_key = left.pop()
        yield node, is_key
        key = node.child_by_field_name("key") if node.type == "pair" else None
        children = node.named_children
        left += [(child, key is not None and child == key) for child in reversed(children)]


def _most(counter: Counter[str]) -> str | None:
    return counter.most_common(1)[0][0] if counter else None


def _yes(counter: Counter[bool], default: bool) -> bool:
    return counter[True] > counter[False] if counter[True] != counter[False] else default


def _unit(source: Source) -> str | None:
    """The indentation of the file's least indented line that has one."""
    found = re.findall(rb"^([ \t]+)[^\s*]", source.data, re.MULTILINE)
    return min(found, key=len).decode() if found else None
