"""HTML pages: escaping, tables, matrices, plots, and how they behave in a real browser."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pytest

from fibcore.errors import FibcoreError
from fibcore.pages import (
    Bar,
    Cell,
    Column,
    LegendEntry,
    Matrix,
    MatrixCell,
    Plot,
    Point,
    Table,
    TableRow,
    bar_plot,
    render_page,
    scatter_plot,
    strip_plot,
)

if TYPE_CHECKING:
    from browser import Browser

TEMPLATE = """
{% extends "base.html" %}
{% from "table.html" import table %}
{% from "matrix.html" import matrix %}
{% from "plot.html" import plot %}
{% block main %}
{% for t in tables %}
{% call(row) table(t) %}<pre class="code">{{ row.data|python }}</pre>{% endcall %}
{% endfor %}
{% for m in matrices %}{{ matrix(m) }}{% endfor %}
{% for p in plots %}{{ plot(p) }}{% endfor %}
<p><a href="#row-b" id="link">to b</a></p>
{% endblock %}
"""

HOSTILE = "<script>document.title = 'taken over'</script><img src=x onerror=\"alert('1')\">&amp;"


def page(*, tables: Any = (), matrices: Any = (), plots: Any = (), title: str = "Test") -> str:
    return render_page(
        TEMPLATE,
        title=title,
        generated_from="fibcore, a test",
        tables=tables,
        matrices=matrices,
        plots=plots,
    )


def sizes() -> Table:
    return Table(
        id="sizes",
        caption="Sizes",
        columns=(
            Column("Name"),
            Column("Op type", filter=True),
            Column("Models", filter=True),
            Column("Size", kind="number"),
        ),
        rows=(
            TableRow(("k_h4096", "norm", _models("llama", "qwen"), 4096), anchor="row-a"),
            TableRow(("k_h128", "norm", _models("qwen"), 128), anchor="row-b", data="x = 1  # one"),
            TableRow(("n_900", "gemm", _models("llama"), None), search="hidden words"),
            TableRow(("n_1000", "gemm", _models("phi"), 12.5)),
        ),
    )


def _models(*names: str) -> Cell:
    return Cell(", ".join(names), values=names, chips=True)


def many(count: int) -> Table:
    source = "def run(x):\n" + "".join(f"    y{i} = x + {i}  # step\n" for i in range(60))
    return Table(
        id="many",
        caption="Many",
        columns=(Column("Name"), Column("Size", kind="number")),
        rows=[TableRow((f"n_{i}", i), anchor=f"n_{i}", data=source) for i in range(count)],
    )


class Elements(HTMLParser):
    """Tags and attributes of a page, and what is not balanced in it."""

    VOID = frozenset(
        {"meta", "link", "input", "img", "line", "path", "rect", "circle", "br", "wbr"}
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


def test_a_page_is_balanced_and_loads_nothing() -> None:
    text = page(tables=(sizes(),), matrices=(_matrix(),), plots=(_bars(),))
    elements = Elements(text)
    assert elements.wrong == []
    assert elements.open == []
    loads = [
        (tag, value)
        for tag, attributes in elements.tags
        for key, value in attributes.items()
        if key in ("src", "href", "action", "srcset", "data", "poster")
        and not (value or "").startswith(("#", "data:"))
    ]
    assert loads == []
    assert "url(" not in text
    assert "@import" not in text
    policy = next(a for t, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])


def test_everything_is_escaped() -> None:
    hostile = Table(
        id="t",
        caption=HOSTILE,
        columns=(Column(HOSTILE, filter=True, help=HOSTILE),),
        rows=(
            TableRow(
                (Cell(HOSTILE, values=(HOSTILE,), chips=True, title=HOSTILE),),
                anchor=HOSTILE,
                search=HOSTILE,
                data=f"'''{HOSTILE}'''",
            ),
        ),
    )
    cells = {(HOSTILE, HOSTILE): MatrixCell(HOSTILE, HOSTILE, href="#" + HOSTILE)}
    m = Matrix(
        "m", HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,), cells, (LegendEntry(HOSTILE, level=0.5),)
    )
    p = bar_plot([Bar(HOSTILE, 1, HOSTILE, "#" + HOSTILE, HOSTILE)], title=HOSTILE, label=HOSTILE)
    text = page(tables=(hostile,), matrices=(m,), plots=(p,), title=HOSTILE)
    elements = Elements(text)
    assert elements.wrong == []
    assert [t for t, _ in elements.tags if t == "img"] == []
    assert len([t for t, _ in elements.tags if t == "script"]) == 2  # the page's own, and details
    assert not [a for _, attributes in elements.tags for a in attributes if a.startswith("on")]


def test_a_name_that_was_not_given_is_an_error() -> None:
    template = '{% extends "base.html" %}\n{% block main %}{{ nothing_of_this_name }}{% endblock %}'
    with pytest.raises(jinja2.UndefinedError, match="nothing_of_this_name"):
        render_page(template, title="t", generated_from="g")


def test_the_same_input_gives_the_same_bytes() -> None:
    assert page(tables=(sizes(),)) == page(tables=(sizes(),))


def test_tables_refuse_what_they_cannot_show() -> None:
    with pytest.raises(FibcoreError, match="one cell for each column"):
        Table("t", "c", (Column("A"), Column("B")), (TableRow(("a",)),))
    with pytest.raises(FibcoreError, match="one name"):
        Table("t", "c", (Column("Op type"), Column("Op Type")), ())
    with pytest.raises(FibcoreError, match="table's id"):
        Table("two words", "c", (Column("A"),), ())
    with pytest.raises(FibcoreError, match="no row and column"):
        Matrix("m", "c", "corner", ("a",), ("b",), {("a", "z"): MatrixCell("", "")})


def test_filters_offer_values_in_natural_order() -> None:
    rows = [TableRow((name,)) for name in ("h4096", "h128", "", "h4096", "H9")]
    table = Table("t", "c", (Column("Name", filter=True),), rows)
    assert table.options(0) == ["H9", "h128", "h4096"]


def test_a_table_without_rows_says_so() -> None:
    text = page(tables=(Table("t", "c", (Column("A"),), (), empty="No kernels yet."),))
    assert "No kernels yet." in text
    assert Elements(text).wrong == []


def test_highlighting_keeps_every_character() -> None:
    source = "\n\ndef f(x):\n\treturn '<b>' if x < 1 else \"&\"  # é\n\n"
    text = page(tables=(Table("t", "c", (Column("A"),), (TableRow(("a",), data=source),)),))
    match = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    html = json.loads(match.group(1))
    assert 'class="k">def<' in html
    inner = Text(html.removeprefix('<pre class="code">').removesuffix("</pre>"))
    assert "".join(inner.parts) == source


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(text)
        self.close()

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _bars() -> Plot:
    bars = [Bar("one", 1e-3), Bar("two", 10.0, series="b"), Bar("three", math.nan)]
    return bar_plot(bars, title="Bars", label="errors", log=True)


def test_bars_on_a_logarithmic_axis() -> None:
    p = _bars()
    assert p.left_out == 1
    one, two = p.marks
    assert two.width > one.width
    at = {tick.label: tick.at for tick in p.x_ticks}
    assert one.x + one.width == pytest.approx(at["0.001"], abs=0.1)
    assert two.x + two.width == pytest.approx(at["10"], abs=0.1)
    assert at["0.01"] - at["0.001"] == pytest.approx(at["1"] - at["0.1"], abs=0.1)


def test_zeros_stand_beside_a_logarithmic_axis() -> None:
    points = [Point(0.0, "a", "zero"), Point(1e-8, "a", "small"), Point(-1.0, "a", "negative")]
    p = strip_plot(points, title="t", label="l", log=True)
    zero, small = p.marks
    assert p.left <= zero.x < small.x
    assert p.x_ticks[0].label == "0"
    assert p.x_ticks[0].at == zero.x
    assert p.left_out == 1


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [[], [0.0], [5.0], [1.0, 1.0], [1e-300, 1e300], [-1e300, 1e300], [-2.0, 3.0]]
)
def test_plots_of_few_and_of_extreme_values(values: list[float], log: bool) -> None:
    for p in (
        bar_plot([Bar(str(v), v) for v in values], title="t", label="l", log=log),
        strip_plot([Point(v, "s", "t") for v in values], title="t", label="l", log=log),
        scatter_plot(
            [Point(v, v, "t") for v in values],
            title="t",
            x_label="x",
            y_label="y",
            log_x=log,
            log_y=log,
        ),
    ):
        drawn = len([v for v in values if not (log and v < 0)])
        assert len(p.marks) == drawn
        for mark in p.marks:
            assert p.left - 1 <= mark.x <= p.right + 1
            assert p.top - 1 <= mark.y <= p.bottom + 1
            assert mark.x + mark.width <= p.right + 1
        assert all(p.left - 1 <= tick.at <= p.right + 1 for tick in p.x_ticks)
        assert len(p.x_ticks) <= 12
        assert Elements(page(plots=(p,))).wrong == []


@pytest.mark.parametrize("log", [False, True])
def test_numbers_at_the_ends_of_what_a_float_holds_are_left_out(log: bool) -> None:
    for value in (1e308, 1e-320, float("inf"), float("nan")):
        points = [Point(value, "s", "t"), Point(1.0, "s", "t")]
        assert strip_plot(points, title="t", label="l", log=log).left_out == 1


def test_linear_axes_begin_at_zero() -> None:
    p = scatter_plot([Point(50, 2, "a"), Point(100, 4, "b")], title="t", x_label="x", y_label="y")
    assert [tick.label for tick in p.x_ticks] == ["0", "25", "50", "75", "100"]
    assert p.x_ticks[0].at == p.left


def _matrix() -> Matrix:
    return Matrix(
        id="cover",
        caption="Coverage",
        corner="Model",
        rows=("llama", "qwen"),
        columns=("gemm", "norm"),
        cells={
            ("llama", "gemm"): MatrixCell("2/5", "two of five", "warn", sort=0.4),
            ("qwen", "gemm"): MatrixCell("10/10", "all", "good", sort=1.0),
            ("qwen", "norm"): MatrixCell("7", "seven", level=0.7),
        },
        legend=(LegendEntry("all", "good"),),
        links={"llama": "#llama"},
    )


# In a real browser.


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Browser:
    file = tmp_path / "page.html"
    file.write_text(page(tables=(sizes(),), matrices=(_matrix(),), plots=(_bars(),)))
    browser.open(file)
    browser.file = file
    return browser


NAMES = "#table-sizes .item:not([hidden]) th"


def test_a_search_narrows_and_is_counted(shown: Browser) -> None:
    assert shown.find("[data-table=sizes] .count").text == "4 rows"
    shown.type("[data-table=sizes] input", "LLAMA norm")
    assert shown.shown(NAMES) == ["k_h4096"]
    assert shown.find("[data-table=sizes] .count").text == "1 of 4 rows"
    shown.type("[data-table=sizes] input", "hidden")
    assert shown.shown(NAMES) == ["n_900"]
    shown.type("[data-table=sizes] input", "nothing at all")
    assert shown.shown(NAMES) == []
    shown.find("[data-table=sizes] .nothing button").click()
    assert len(shown.shown(NAMES)) == 4
    assert shown.log() == []


def test_filters_combine_and_count_what_they_would_leave(shown: Browser) -> None:
    shown.choose("[data-key=models]", "qwen")
    assert shown.shown(NAMES) == ["k_h4096", "k_h128"]
    texts = "return [...document.querySelectorAll(arguments[0])].map(o => o.textContent)"
    options = shown.run(texts, "select[data-key=op-type] option")
    assert options == ["all (2)", "gemm (0)", "norm (2)"]
    assert "llama (2)" in shown.run(texts, "select[data-key=models] option")
    shown.choose("[data-key=op-type]", "gemm")
    assert shown.shown(NAMES) == []


def test_sorting_by_numbers_and_by_names(shown: Browser) -> None:
    size = shown.find("#table-sizes th[data-key=size]")
    size.find_element("css selector", "button").click()
    assert size.get_attribute("aria-sort") == "ascending"
    assert shown.shown(NAMES) == ["n_1000", "k_h128", "k_h4096", "n_900"]
    size.find_element("css selector", "button").send_keys("\ue007")  # Enter
    assert size.get_attribute("aria-sort") == "descending"
    assert shown.shown(NAMES) == ["k_h4096", "k_h128", "n_1000", "n_900"]  # empty stays last
    shown.find("#table-sizes th[data-key=name] button").click()
    assert size.get_attribute("aria-sort") == "none"
    assert shown.shown(NAMES) == ["k_h128", "k_h4096", "n_900", "n_1000"]
    shown.find("#table-sizes th[data-key=name] button").click()
    shown.find("#table-sizes th[data-key=name] button").click()
    assert shown.shown(NAMES) == ["k_h4096", "k_h128", "n_900", "n_1000"]  # as it was


def test_the_state_is_in_the_address(shown: Browser) -> None:
    shown.type("[data-table=sizes] input", "k_")
    shown.choose("[data-key=models]", "qwen")
    shown.find("#table-sizes th[data-key=size] button").click()
    shown.wait("location.hash.includes('sort=size')")
    hash_ = shown.run("return location.hash")
    assert "sizes.q=k_" in hash_
    shown.open(shown.file, hash_)
    assert shown.shown(NAMES) == ["k_h128", "k_h4096"]
    assert shown.find("[data-key=models]").get_attribute("value") == "qwen"
    assert shown.find("#table-sizes th[data-key=size]").get_attribute("aria-sort") == "ascending"


def test_an_anchor_opens_its_row_even_where_a_filter_hides_it(shown: Browser) -> None:
    shown.type("[data-table=sizes] input", "gemm")
    shown.find("#link").click()
    assert len(shown.shown(NAMES)) == 4
    assert shown.shown("#row-b pre.code") == ["x = 1  # one"]
    assert shown.find("#row-b pre.code .mi").text == "1"
    shown.wait("location.hash.startsWith('#row-b')")
    shown.open(shown.file, "#row-b")
    assert shown.shown("#row-b pre.code") == ["x = 1  # one"]
    assert shown.run("return document.activeElement.textContent") == "k_h128"
    shown.find("#row-b button.toggle").send_keys("\ue007")
    assert shown.shown("#row-b pre.code") == []
    assert shown.log() == []


def test_keys(shown: Browser) -> None:
    shown.find("body").send_keys("/")
    assert shown.run("return document.activeElement.type") == "search"
    shown.run("document.activeElement.blur()")
    shown.type("[data-table=sizes] input", "k_")
    shown.find("[data-table=sizes] input").send_keys("\ue00c")  # Escape
    assert len(shown.shown(NAMES)) == 4


def test_a_matrix_sorts_by_what_its_cells_mean(shown: Browser) -> None:
    shown.find("#table-cover th[data-key=gemm] button").click()
    assert shown.shown("#table-cover tbody th") == ["llama", "qwen"]
    shown.find("#table-cover th[data-key=gemm] button").click()
    assert shown.shown("#table-cover tbody th") == ["qwen", "llama"]
    assert shown.find("#table-cover td.cell").get_attribute("title") == "all"


def test_hostile_text_is_text_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    row = TableRow((HOSTILE,), anchor="x", data=f"'''{HOSTILE}'''")
    table = Table(id="t", caption="c", columns=(Column("A", filter=True),), rows=(row,))
    file = tmp_path / "hostile.html"
    file.write_text(page(tables=(table,), title=HOSTILE), encoding="utf-8")
    browser.open(file, "#x")
    assert browser.run("return document.title") == HOSTILE
    assert browser.shown("#x button.toggle") == [HOSTILE]
    assert browser.shown("#x pre") == [f"'''{HOSTILE}'''"]
    assert browser.all("main img") == []
    assert browser.log() == []


def test_scripts_of_others_are_blocked(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "blocked.html"
    text = page(tables=(sizes(),)).replace("</main>", "<script>document.title=1</script></main>")
    file.write_text(text, encoding="utf-8")
    browser.open(file)
    assert browser.run("return document.title") == "Test"
    assert "Content Security Policy" in " ".join(browser.log())


def test_light_dark_and_the_choice_between_them(shown: Browser) -> None:
    def background() -> Any:
        return shown.run("return getComputedStyle(document.body).backgroundColor")

    shown.look(width=900, height=700, dark=True)
    dark = background()
    shown.look(width=900, height=700)
    light = background()
    assert light != dark
    button = shown.find("button.theme")
    button.click()
    button.click()
    assert background() == dark
    assert "dark" in button.get_attribute("aria-label")
    button.click()
    assert background() == light


def test_no_page_is_wider_than_a_telephone(shown: Browser) -> None:
    shown.look(width=380, height=700)
    assert shown.run("return document.documentElement.scrollWidth") <= 380
    shown.look(width=1200, height=800)


def test_many_rows_cost_no_elements_until_they_are_opened(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "many.html"
    file.write_text(page(tables=(many(300),)), encoding="utf-8")
    browser.open(file)
    assert browser.run("return document.querySelectorAll('*').length") < 5000
    browser.find("#n_7 button.toggle").click()
    assert len(browser.all("#n_7 pre.code span")) > 100
