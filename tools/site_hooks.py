"""Small changes to pages of docs/ for the site; mkdocs.yml names this file."""

from __future__ import annotations

import re
from typing import Any

_NAMED = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Names of files behind the language of a code block, as the extension writes them."""
    return _NAMED.sub(r'```\1 title="\2"', markdown)
