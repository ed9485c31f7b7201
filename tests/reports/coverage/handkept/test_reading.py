"""What is read out of hand-kept pages."""

from __future__ import annotations

from fibcore.reports.coverage.handkept.reading import read_page
from fibcore.reports.coverage.handkept.vocabulary import Vocabulary


def test_the_longest_name_of_a_model_counts() -> None:
    models = {"qwen3-30b-a3b": [], "qwen3-30b-a3b-fp8": [], "llama-3.1-8b": ["x/Llama-3.1-8B"]}
    vocabulary = Vocabulary(models, ["rmsnorm_h64"], ["rmsnorm"])
    assert vocabulary.models("Qwen3 30B A3B (FP8)") == ("qwen3-30b-a3b-fp8",)
    assert vocabulary.models("Qwen3-30B-A3B and Llama 3.1 8B") == ("qwen3-30b-a3b", "llama-3.1-8b")
    assert vocabulary.models("Llama 3.1 80B") == ()
    assert vocabulary.definitions("`rmsnorm_h7` and sm_scale_8, rmsnorm_x") == ("rmsnorm_h7",)


def test_code_blocks_and_comments_say_nothing() -> None:
    vocabulary = Vocabulary({"tiny": []}, ["rmsnorm_h64"], ["rmsnorm"])
    text = "# tiny\n\n```\n- rmsnorm_h1\n```\n\n<!-- rmsnorm_h2 -->\n\n- rmsnorm_h64\n"
    page = read_page(text, vocabulary)
    assert [s.names for s in page.statements] == [("rmsnorm_h64",)]
    assert page.mentions == {"tiny": 1}


def test_a_table_row_goes_on_with_the_model_above() -> None:
    vocabulary = Vocabulary({"tiny": [], "other": []}, ["rmsnorm_h64"], ["rmsnorm"])
    text = "| Model | Kernel |\n|---|---|\n| other | rmsnorm_h1 |\n| | rmsnorm_h2 |\n"
    page = read_page(text, vocabulary)
    assert [(s.line, s.models, s.names) for s in page.statements] == [
        (3, ("other",), ("rmsnorm_h1",)),
        (4, ("other",), ("rmsnorm_h2",)),
    ]
