"""Self-contained HTML pages: one file, no network, light and dark, usable by keyboard.

A page is a template in `fibcore/pages/templates` that extends `base.html` and is filled with plain
values and the data types below. jinja2 is imported when a page is rendered, not before.

    from fibcore.pages import Cell, Column, TableRow, Table, render_page

    models = Table(
        id="models",
        caption="Models",
        columns=(
            Column("Model"),
            Column("Op type", filter=True),
            Column("Layers", kind="number"),
        ),
        rows=(TableRow(("llama-3.1-8b", Cell("gemm", code=True), 32)),),
    )
    text = render_page(
        "mine.html", title="My page", generated_from="fibcore 0.1.0, dataset my-dataset", t=models
    )

with `templates/mine.html`:

    {% extends "base.html" %}
    {% from "table.html" import table %}
    {% block main %}
    <h2>Models</h2>
    {{ table(t) }}
    {% endblock %}

**Escaping.** Autoescape is on: whatever a page is given is shown as text. A name that a template
uses and the call does not give is an error (StrictUndefined). The page's Content-Security-Policy
allows the page's own script by its hash and nothing from elsewhere.

**Blocks of `base.html`**: `main` (needed), `lead` (a paragraph under the title), `nav` (links in
the header). Its context: `title` and `generated_from`, which has no time in it, so that the same
input gives the same bytes.

**Tables** (`table.html`, macro `table(t)` of a `Table`): a click or Enter on a header sorts
(ascending, descending, as it was), `aria-sort` says so, numbers sort as numbers and names with
numbers in them in their natural order, empty cells last. Above it a search input, a select for
every column with `filter`, and how many rows match. Of long tables the first rows are shown and a
button shows the rest; sorting, searching and filtering go over all rows. Where there are several
tables, the input at the top of the page searches all of them and what their rows open to. `/` goes
to the first search input, Escape empties it. Names break at their joints (`<wbr>`), and where the
window is narrow every row is a card with its columns' names in it. The state is in the URL's hash
(`#?models.q=llama&models.sort=-layers`), so that it can be bookmarked; `#ANCHOR` shows the row with
that `TableRow.anchor`. Rows with `TableRow.data` open: the block of
`{% call(row) table(t) %}...{% endcall %}` is rendered for each of them into inert text and becomes
elements only once the row is opened, so that hundreds of long details cost little.

**Matrices** (`matrix.html`, macro `matrix(m)` of a `Matrix`): rows and columns of coloured cells,
each with text and a title, and a legend; searched and sorted as tables are.

**Plots** (`plot.html`, macro `plot(p)`): inline SVG of `bar_plot`, `scatter_plot` and `strip_plot`,
linear or logarithmic, with axis labels; every mark has a title and may be a link.

**Small parts** (`parts.html`): `badge(text, tone)` is a coloured word, `tally(items)` a row of
large numbers, each (number, words, tone). The filter `text|python` highlights Python source; put
it into `<pre class="code">`.

**Tones** (of cells, badges and numbers): "good", "warn", "bad", "muted", "none". Text says what the
colour says; colour is never all there is.
"""

from __future__ import annotations

from fibcore.pages.plots import Bar, Plot, Point, bar_plot, scatter_plot, strip_plot
from fibcore.pages.rendering import need_for_pages, render_page
from fibcore.pages.tables import (
    Cell,
    Column,
    LegendEntry,
    Matrix,
    MatrixCell,
    Table,
    TableRow,
    Tone,
)

__all__ = [
    "Bar",
    "Cell",
    "Column",
    "LegendEntry",
    "Matrix",
    "MatrixCell",
    "Plot",
    "Point",
    "Table",
    "TableRow",
    "Tone",
    "bar_plot",
    "need_for_pages",
    "render_page",
    "scatter_plot",
    "strip_plot",
]
