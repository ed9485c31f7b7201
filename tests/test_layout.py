"""What is read off a module's text, against what Python's own tokenizer and parser say."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing

import pytest

from fibcore import layout

MODULES = (argparse, ast, dataclasses, inspect, textwrap, tokenize, typing)
ODD = '''\
x = "a \\
  b"  # """ no string
y = """one
two""" + \'\'\'three
four\'\'\' + 'it"""s'
w = 1 + \\
    2
"""
class no statement:
"""
@f
@g(
)
def h():
    "in # one line"; v = """ \\""" """
else_where = {
}
if x:
    pass
else:
    pass
'''


def texts() -> list[str]:
    return [ODD, "", "\n", "x", *(inspect.getsource(module) for module in MODULES)]


@pytest.mark.parametrize("text", texts(), ids=range(len(texts())))
def test_strings_of_several_lines_are_those_of_the_tokenizer(text: str) -> None:
    starts = [0]
    for line in io.StringIO(text, newline=""):
        starts.append(starts[-1] + len(line))
    expected = [
        (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.STRING and token.start[0] != token.end[0]
    ]
    found = layout.long_strings(text)
    # A prefix (`r"""`) is part of the token alone.
    assert [end for _, end in found] == [end for _, end in expected]
    assert all(begin <= own <= begin + 2 for (own, _), (begin, _) in zip(found, expected))  # noqa: B905


@pytest.mark.parametrize("text", texts(), ids=range(len(texts())))
def test_statements_begin_where_the_parser_has_them(text: str) -> None:
    nodes = ast.parse(text).body
    decorators = [[d.lineno for d in getattr(n, "decorator_list", ())] for n in nodes]
    # Statements that share a line are one piece.
    lines = {min([n.lineno, *d]) for n, d in zip(nodes, decorators)}  # noqa: B905
    pieces = list(layout.statements(text, layout.long_strings(text)))
    assert [line for _, line, _ in pieces] == sorted(lines)
    assert all(text[start : start + len(piece)] == piece for piece, _, start in pieces)


def test_names_are_global_where_a_statement_of_a_function_says_so() -> None:
    text = "global a\ndef f():\n    global b, c\n\tglobal\td\n    x.global_e = 1  # global e\n"
    assert layout.declared_global(text) == {"b", "c", "d"}


def test_module_without_marks_is_not_searched_for_strings() -> None:
    """A line that holds neither a triple quote nor a continuation begins and ends no string."""
    assert layout.long_strings("'a' \"b\" # '\n" * 3) == []
