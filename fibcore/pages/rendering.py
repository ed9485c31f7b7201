"""Fills a page's template: autoescaped, strict about names, with its own script allowed by hash."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from fibcore.extras import need

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = "templates"


def render_page(template: str, *, title: str, generated_from: str, **context: Any) -> str:
    """The text of a page.

    Args:
        template: A file in `fibcore/pages/templates` that extends `base.html` (or its text, where
            it holds a newline).
        title: The page's title.
        generated_from: What the page was made from, and by which version; nothing that changes
            from run to run.
        context: What the template needs.

    Raises:
        jinja2.UndefinedError: the template needs a name that was not given.
        jinja2.TemplateNotFound: there is no such template.
    """
    pages = environment()
    page = pages.from_string(template) if "\n" in template else pages.get_template(template)
    return page.render(title=title, generated_from=generated_from, **context).rstrip() + "\n"


def need_for_pages() -> None:
    """Refuse to begin with a page that cannot be rendered.

    Raises:
        MissingPackageError: the extra `report` is not installed.
    """
    need("report", "HTML pages", "jinja2", "pygments")


@functools.cache
def environment() -> Environment:
    """The environment of all pages."""
    need_for_pages()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from fibcore.model.layer_paths import group_uses
    from fibcore.pages.highlighting import highlight_python
    from fibcore.pages.tables import as_cell, filter_values

    made = Environment(
        # `importlib.resources` rules: works from a wheel, a zip and an editable install.
        loader=PackageLoader("fibcore.pages", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters.update(
        python=highlight_python, as_cell=as_cell, filter_values=filter_values, groups=group_uses
    )
    made.filters.update(inert=inert, breakable=breakable)
    made.globals.update(asset=asset, script_hash=script_hash)
    return made


def asset(name: str) -> Any:
    """A file of ours that goes into the page as it is: its style, its script."""
    from markupsafe import Markup

    return Markup(_read(name))  # noqa: S704 - the package's own file


_LONG_WORD = re.compile(r"\S{14,}")
_JOINT = re.compile(r"(?<=[A-Za-z0-9])(?=[A-Z][a-z])|(?<=[/_.:,=|-])(?=\w)")


def breakable(text: object) -> Any:
    """Escaped text whose long words may go on in the next line at their joints (`<wbr>`).

    What is copied or searched stays the text alone.
    """
    from markupsafe import Markup, escape

    def word(found: re.Match[str]) -> str:
        return "<wbr>".join(str(escape(part)) for part in _JOINT.split(found[0]))

    parts, at = [], 0
    for found in _LONG_WORD.finditer(str(text)):
        parts += [str(escape(str(text)[at : found.start()])), word(found)]
        at = found.end()
    return Markup("".join([*parts, str(escape(str(text)[at:]))]))  # noqa: S704 - escaped


def inert(html: str) -> Any:
    """Escaped HTML as a JSON string that a script element can hold.

    A browser makes nothing of it until the page's script does. jinja's `tojson` would do as well,
    but makes six characters of every `<`.
    """
    from markupsafe import Markup

    text = json.dumps(str(html), ensure_ascii=False).replace("</", "<\\/")
    # After these two a browser would look for the end of the script elsewhere.
    for opening in ("<!--", "<script"):
        text = re.sub(re.escape(opening), f"\\\\u003c{opening[1:]}", text, flags=re.IGNORECASE)
    return Markup(text)  # noqa: S704 - no markup is left that ends the element


def script_hash(name: str) -> str:
    """The hash by which the Content-Security-Policy allows a script of ours and no other."""
    # The element's text begins and ends with the newlines that base.html puts around the script.
    digest = hashlib.sha256(f"\n{_read(name)}\n".encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@functools.cache
def _read(name: str) -> str:
    folder = resources.files("fibcore.pages") / TEMPLATES
    return (folder / name).read_text(encoding="utf-8").strip()
