"""How pages are laid out in a real browser: at four widths, light and dark, and with many rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fibcore.pages import Cell, Column, Matrix, MatrixCell, Table, TableRow, render_page
from fibcore.pages.rendering import breakable

if TYPE_CHECKING:
    from browser import Browser

TEMPLATE = """
{% extends "base.html" %}
{% from "table.html" import table %}
{% from "matrix.html" import matrix %}
{% block main %}
{% call(row) table(long) %}<p>{{ row.data }}</p>{% endcall %}
{{ table(short) }}
{{ matrix(picture) }}
{% endblock %}
"""
ROWS = 90
LONG = "gqa_paged_prefill_causal_h128_kv16_d128_ps64_with_a_name_that_goes_on_and_on"
ITEMS = "#table-long .item"


def _long() -> Table:
    titles = ("Definition", "Model", "Op type", "Workloads", "Benchmarks", "Where", "State", "Why")
    return Table(
        id="long",
        caption="Long",
        columns=[
            Column(
                t,
                kind="number" if t in ("Workloads", "Benchmarks") else "text",
                filter=t == "State",
            )
            for t in titles
        ],
        rows=[
            TableRow(
                (
                    Cell(f"{LONG}_{n}", code=True),
                    "DeepseekV32ForCausalLMNextN",
                    Cell("gqa_paged", values=("decode", "prefill", LONG), chips=True),
                    n,
                    ROWS - n,
                    "sglang/srt/layers/quantization/compressed_tensors/schemes/one.py:1234",
                    Cell("not verified", tone="warn"),
                    "a reason in a sentence that somebody wrote, " * 3,
                ),
                anchor=f"row-{n}",
                data=f"only in the details of {n}.",
            )
            for n in range(ROWS)
        ],
    )


def _page(folder: Path) -> Path:
    short = Table(
        id="short",
        caption="Short",
        columns=(Column("Name"), Column("Size", kind="number")),
        rows=[TableRow((f"short_{n}", n)) for n in range(3)],
        searchable=False,
    )
    columns = [f"op_type_number_{n}" for n in range(40)]
    cells = {("a-model", column): MatrixCell("1/2", "one of two", "warn") for column in columns}
    picture = Matrix(
        id="picture",
        caption="Picture",
        corner="Model",
        rows=("a-model",),
        columns=columns,
        cells=cells,
    )
    file = folder / "page.html"
    text = render_page(
        TEMPLATE,
        title="T" * 90,
        generated_from="a test",
        long=_long(),
        short=short,
        picture=picture,
    )
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def wide(browser: Browser, tmp_path: Path) -> Browser:
    browser.look(width=1400, height=900)
    browser.open(_page(tmp_path))
    return browser


def test_nothing_is_cut_off_at_any_width(browser: Browser, tmp_path: Path) -> None:
    assert browser.layout_faults(_page(tmp_path)) == []


def test_a_long_table_shows_its_first_rows_until_all_are_asked_for(wide: Browser) -> None:
    assert len(wide.shown(ITEMS)) == 30
    more = wide.find("[data-table=long] button.more")
    assert more.text == f"Show all {ROWS} rows"
    more.click()
    assert len(wide.shown(ITEMS)) == ROWS
    wide.wait("location.hash.includes('long.rows=all')")
    more.click()
    assert len(wide.shown(ITEMS)) == 30
    assert wide.shown("[data-table=short] button.more") == []
    wide.look(width=420, height=900)
    wide.wait(f"[...document.querySelectorAll('{ITEMS}')].filter(e => !e.hidden).length === 10")


def test_sorting_and_searching_go_over_all_rows(wide: Browser) -> None:
    wide.find("#table-long th[data-key=benchmarks] button").click()
    assert wide.shown(f"{ITEMS} th")[0] == f"{LONG}_{ROWS - 1}"
    wide.type("[data-table=long] .controls input", f"_{ROWS - 9}")
    assert wide.shown(f"{ITEMS} th") == [f"{LONG}_{ROWS - 9}"]


def test_a_link_leads_to_a_row_beyond_the_first_ones(wide: Browser) -> None:
    wide.open(Path(wide.run("return decodeURIComponent(location.pathname)")), "#row-80")
    assert wide.shown("#row-80 div.detail") == ["only in the details of 80."]
    assert len(wide.shown(ITEMS)) == 31


def test_the_page_s_search_finds_in_every_table_and_in_details(wide: Browser) -> None:
    wide.type("input.find", "details of 77.")
    assert wide.shown(f"{ITEMS} th") == [f"{LONG}_77"]
    assert wide.shown("#table-short .item") == []
    assert wide.find(".found").text == "1 row in 1 table"
    wide.type("input.find", "short_2")
    assert wide.shown("#table-short .item th") == ["short_2"]
    wide.wait("location.hash.includes('q=short_2')")
    wide.type("input.find", "")
    assert len(wide.shown("#table-short .item")) == 3
    assert wide.find(".found").text == ""
    assert wide.log() == []


def test_names_may_go_on_in_the_next_line_at_their_joints() -> None:
    assert breakable("gemm_n_4096_k_4096<") == "gemm_<wbr>n_<wbr>4096_<wbr>k_<wbr>4096&lt;"
    assert breakable("LlamaForCausalLM &") == "Llama<wbr>For<wbr>CausalLM &amp;"
    assert breakable("short_name") == "short_name"
