"""What the command line writes to which stream, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import re
import sys
import time

import pytest

from fibcore.cli.output import Output
from fibcore.errors import FibcoreError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


ROWS = [("gemm_n_6144_k_4096", 32), ("rmsnorm_h4096", 1)]


def test_a_table_is_aligned_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output().table(("definition", "layers"), ROWS, title="Found", indent=2)
    assert capsys.readouterr().out == (
        "Found\n  definition          layers\n  gemm_n_6144_k_4096  32\n  rmsnorm_h4096       1\n"
    )


@pytest.mark.parametrize(("columns", "drawn"), [(80, True), (20, False)])
def test_a_terminal_gets_a_drawn_table_unless_names_would_be_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int, drawn: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    Output().table(("definition", "layers"), ROWS)
    text = terminal.getvalue()
    assert ("│" in text) == drawn
    assert "gemm_n_6144_k_4096" in text


WIDE = [
    (
        "activation",
        "silu_and_mul_h4608",
        3,
        "sglang/srt/models/deepseek_v2.py:334",
        "a reason " * 9,
    ),
    ("gemm", "gemm_fp8_block_scale_n_24576_k_1536", 61, "", ""),
]


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140, 240])
@pytest.mark.parametrize("rows", [WIDE, [(*row[:3], "", row[4]) for row in WIDE]])
def test_a_table_fits_the_terminal_and_breaks_no_word(
    monkeypatch: pytest.MonkeyPatch, columns: int, rows: list[tuple[object, ...]]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    Output().table(("op type", "definition", "layers", "from", "why"), rows, indent=2)
    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert max(map(len, text.splitlines())) <= columns + 6 * (columns == 40)  # a word is 46 long
    words = set(text.replace("│", " ").split())
    assert {word for row in rows for cell in row for word in str(cell).split()} <= words
    if columns == 240:
        assert len(text.splitlines()) == 6  # frame, titles, line, two rows, frame


def test_stacked_rows_begin_with_what_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("gemm", f"gemm_n_{n}_k_4096_of_a_name", 0, "llama", "") for n in range(3)]
    rows[1] = (*rows[1][:3], "qwen", "")
    Output().table(("op type", "definition", "tests", "models", "why"), rows)
    assert terminal.getvalue().splitlines() == [
        "in every row: op type: gemm · tests: 0",
        "gemm_n_0_k_4096_of_a_name",
        "    models: llama",
        "gemm_n_1_k_4096_of_a_name",
        "    models: qwen",
        "gemm_n_2_k_4096_of_a_name",
        "    models: llama",
    ]


def test_with_json_people_read_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json_mode=True)
    out.line("a line")
    out.result("a result")
    out.table(("a",), [(1,)])
    out.document(lambda: {"a": ["ü"]})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": ["ü"]}
    assert "ü" in captured.out
    assert captured.err == "a line\na result\na\n1\n"


def test_without_json_there_is_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output().document(lambda: {"a": 1})
    assert capsys.readouterr().out == ""


def test_quiet_leaves_results_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(verbosity=-1)
    out.line("a line")
    out.table(("a",), [(1,)])
    out.progress("working")
    out.result("a result")
    out.warn("a warning")
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert captured.err == "a warning\n"


def test_progress_elsewhere_is_a_line_a_step_and_one_a_quarter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.progress("asking")
    out.progress("asking")
    for done in range(9):
        out.progress("testing", done, 8)
    out.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "asking",
        "testing",
        "testing: 25%",
        "testing: 50%",
        "testing: 75%",
        "testing: 100%",
    ]


def test_progress_on_a_terminal_is_bars_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    out = Output()
    out.progress("asking")
    out.progress("downloading", 1, 4)
    out.progress.at("downloading", ("sglang", "flashinfer"))
    time.sleep(0.3)  # bars are drawn ten times a second
    out.progress("downloading", 4, 4)
    out.progress("downloading", 4, 4)
    out.progress("testing", 0, 3)
    out.progress.ended("[1/3] rmsnorm_h64", "passed", 1.25)
    out.close(broken=True)
    text = terminal.getvalue()
    assert "downloading: sglang, flashinfer" in text
    assert "25%" in text
    assert capsys.readouterr().out == ""
    assert [re.fullmatch(r" *\d+\.\d s  (.*)", line)[1] for line in screen(text)] == [  # type: ignore[index]
        "asking",
        "downloading",
        "[1/3] rmsnorm_h64: passed",
        "testing: not finished",
    ]
    assert "   1.2 s  [1/3] rmsnorm_h64" in text


def screen(text: str) -> list[str]:
    """The lines that stay on a terminal: a line that is erased is not there."""
    lines = []
    for line in re.sub(r"\x1b\[(?!2K|1A)[?0-9;]*[a-zA-Z]", "", text).split("\n"):
        rest = line.rpartition("\x1b[2K")[2].replace("\r", "").replace("\x1b[1A", "").rstrip()
        lines += [rest] if rest else []
    return lines


def test_a_step_that_ends_elsewhere_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.progress("testing", 0, 4)
    for done in range(1, 5):
        out.progress.at("testing", (f"d{done}",))
        out.progress.ended(f"[{done}/4] d{done}", "passed", 0.5)
        out.progress("testing", done, 4)
    out.close()
    text = "".join(f"[{n}/4] d{n}: passed (0.5 s)\n" for n in range(1, 5))
    assert capsys.readouterr().err == f"testing\n{text}"
    quiet = Output(verbosity=-1)
    quiet.progress("testing")
    quiet.progress.at("testing", ("d",))
    quiet.progress.ended("testing", "passed", None)
    assert capsys.readouterr().err == ""


def test_long_work_says_what_it_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    with out.at_work(seconds=0.1):
        out.progress("testing", 3, 8)
        out.progress.at("testing", ("gemm_n_8_k_8",))
        time.sleep(0.35)
        out.close()
        time.sleep(0.15)
    time.sleep(0.15)  # nothing more once it is over
    first, *more, last = capsys.readouterr().err.splitlines()
    assert first == "testing"
    assert set(more) == {"testing: 25%", "testing: 3 of 8 (gemm_n_8_k_8), 0 s"}
    assert last == "at work, 0 s"


def test_work_that_speaks_for_itself_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    with out.at_work(seconds=0.4):
        for n in range(8):
            out.line(str(n))
            time.sleep(0.08)
    with Output(verbosity=-1).at_work(seconds=0.01):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202eabc\ud800\x7f"


def test_control_characters_are_shown_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.line(HOSTILE)
    out.result(HOSTILE)
    out.warn(HOSTILE)
    out.note(HOSTILE)
    out.table((HOSTILE,), [(HOSTILE,)], title=HOSTILE)
    out.progress(HOSTILE)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert text.isascii()
        assert not any(ord(c) < 32 and c != "\n" for c in text)
        assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202eabc\ud800\x7f" in text


def test_a_drawn_table_sends_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    Output().table((HOSTILE,), [(HOSTILE,)], title=HOSTILE)
    assert "\x1b]" not in terminal.getvalue()
    assert "\x9b" not in terminal.getvalue()


def test_a_document_holds_the_same_data_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(json_mode=True).document(lambda: {HOSTILE: ["\u00e9", "\U0001f600"]})
    text = capsys.readouterr().out
    assert json.loads(text) == {HOSTILE: ["\u00e9", "\U0001f600"]}
    assert not {"\x1b", "\x9b", "\u202e", "\x7f"} & set(text)
    assert "\u00e9" in text


def test_lines_of_a_foreign_message_stand_below_it() -> None:
    error = FibcoreError("wrong", where="a\nb.json", found="red\n13 definitions: 13 new")
    assert str(error) == "a\\nb.json: wrong\n  found: red\n    13 definitions: 13 new"


def test_line_feeds_of_names_make_no_lines_that_look_like_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.result("error: a\nerror: b\n\n  found: c")
    out.warn("refused: x\nwritten: y")
    out.line("\nbelow an empty line")
    out.table(("name",), [("a\nb",)])
    captured = capsys.readouterr()
    assert captured.out == (
        "error: a\n  error: b\n\n  found: c\n\nbelow an empty line\nname\na\\nb\n"
    )
    assert captured.err == "refused: x\n  written: y\n"
