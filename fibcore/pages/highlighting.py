"""Python source as highlighted HTML; colours are those of the page's style."""

from __future__ import annotations

from typing import Any


def highlight_python(source: str) -> Any:
    """`source` as escaped HTML with a span for every token that has a colour.

    The classes are pygments' short ones; `page.css` gives them colours, in light and dark.
    """
    from markupsafe import Markup
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    # Leading blank lines belong to the text: lines are counted.
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return Markup(highlight(source, lexer, HtmlFormatter(nowrap=True)))  # noqa: S704 - escaped
