"""The page of a comparison with a dump; that of two sides is tested with `diff` itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.reports.diff.page import render
from fibcore.reports.diff.report import DiffReport, Match, TraceDiff, Unmatched

if TYPE_CHECKING:
    from browser import Browser


def test_a_dump_s_kernels_are_on_the_page(browser: Browser, tmp_path: Path) -> None:
    trace = TraceDiff(
        trace="dump",
        models=(),
        files=2,
        matched=(Match("rmsnorm_h4096", "rmsnorm_h4096", "a.json", 32, "a.py:3", ("dtype: x",)),),
        static_only=(Unmatched("gemm_n_1_k_2", "gemm", "a.py:4", 32, "not in the dump"),),
        traced_only=(Unmatched("<b>odd</b>", "odd", "b.json", None, "no plugin"),),
        broken=("c.json: not JSON",),
    )
    page = tmp_path / "diff.html"
    page.write_text(render(DiffReport("trace", trace=trace)), encoding="utf-8")
    assert browser.layout_faults(page) == []
    assert browser.shown("#table-trace .item > :nth-child(2)") == ["both", "extraction", "dump"]
    assert "c.json: not JSON" in browser.find("main").text
    browser.type("[data-table=trace] input", "odd")
    assert browser.shown("#table-trace .item > :first-child") == ["<b>odd</b>"]
    browser.look(width=1280, height=900)
