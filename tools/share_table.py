"""Write docs/share.md: which part of a step's launches has a definition, model by model.

    python tools/share_table.py --sglang 0.5.23=FOLDER [--configs DIR] [--jobs N] [--output FILE]

FOLDER holds the package `sglang` of that release. The models are those of `MODELS`, of the built-in
catalogue, and those of `share_configs.json`, whose sizes were written down for this table; with
--configs the totals of all configs below DIR are added, which takes a while.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import fibcore
from fibcore.reports.launches import GPU, SHARE_COLUMNS, StepShare, share_cells, share_note
from fibcore.reports.survey.report import SurveyedModel, SurveyReport

ROOT = Path(__file__).resolve().parents[1]
MODELS = (
    "llama-3.1-8b",
    "qwen3-8b",
    "qwen3-30b-a3b",
    "qwen3-30b-a3b-fp8",
    "mixtral-8x7b",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "deepseek-v3",
    "kimi-k2-instruct",
    "gemma-3-1b-it",
    "llama-4-scout-17b-16e-instruct",
    "qwen3-next-80b-a3b-instruct",
    "qwen3.5-35b-a3b",
    "glm-4.5",
    "minimax-m2.7",
    "nemotron-h-56b-base-8k",
)
LARGE = (
    "deepseek-v3.2",
    "deepseek-v4-flash",
    "deepseek-v4-pro",
    "glm-5.1-fp8",
    "glm-5.1-nvfp4",
    "minimax-m3-bf16",
    "minimax-m3-nvfp4",
    "kimi-k3",
)
"""Models of `CONFIGS` that 8 GPUs serve together."""
CONFIGS = Path(__file__).with_name("share_configs.json")
WRITTEN = " \\*"
"""Behind the names of models whose configs are those of `CONFIGS`."""
COMPUTES = "of what computes"


def lines(
    version: str, rows: Sequence[SurveyedModel], everything: SurveyReport | None
) -> Iterator[str]:
    """The page."""
    yield "# Share of kernels"
    yield ""
    yield f"Written by `tools/share_table.py` from SGLang {version} and this repository's plugins."
    yield from share_note(GPU)
    yield "Products of linear layers are those of whole layers, as the dataset has them; attention"
    yield "and experts are a rank's. [survey.md](survey.md#share-of-kernels) says how is counted."
    yield f"The share {COMPUTES} leaves out copies and collectives. Models with a star have sizes"
    yield "that were written down for this table; the others are of the catalogue."
    yield ""
    first, second, *others = SHARE_COLUMNS
    yield f"| model | TP/EP | {' | '.join((first, second, COMPUTES, *others))} |"
    yield "| --- | --- | --- | ---: | ---: | ---: | --- | --- |"
    for row in rows:
        for step in row.steps:
            stage, launches, *rest = share_cells(step)
            cells = " | ".join((stage, launches, _of_what_computes(step), *rest))
            star = WRITTEN * row.origin.startswith("file:")
            yield f"| {row.model}{star} | {row.tp}/{row.ep} | {cells} |"
    if everything is not None:
        yield ""
        with_steps = [row for row in everything.rows if any(step.total for step in row.steps)]
        yield f"All {len(with_steps)} configs of a folder that could be looked at:"
        yield ""
        for stage, total in everything.launches.items():
            yield f"- {stage}: {total}"


def _of_what_computes(step: StepShare) -> str:
    """The share of launches that neither copy nor add up between ranks."""
    computing = step.total - step.moves
    return f"{100 * step.launches['defined'] / computing:.1f} %" if computing else ""


def main() -> int:
    """Look at the models and write the page; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sglang", required=True, metavar="VERSION=FOLDER")
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "share.md")
    given = parser.parse_args()
    version, _, folder = given.sglang.partition("=")
    with tempfile.TemporaryDirectory() as nowhere:
        written = json.loads(CONFIGS.read_text(encoding="utf-8"))
        folder_of_configs = Path(nowhere) / "configs"
        folder_of_configs.mkdir()
        for name, config in written.items():
            (folder_of_configs / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
        names = (*MODELS, *written)
        small = [name for name in names if name not in LARGE]
        found = [
            fibcore.survey(
                sglang=folder,
                configs=folder_of_configs,
                model_name=some,
                tp=tp,
                jobs=given.jobs,
                output=nowhere,
                target_dir=nowhere,
            )
            for some, tp in ((small, None), (LARGE, 8))
        ]
        everything = None
        if given.configs is not None:
            everything = fibcore.survey(
                sglang=folder,
                configs=given.configs,
                jobs=given.jobs,
                output=nowhere,
                target_dir=nowhere,
            )
    asked = [row for report in found for row in report.rows if row.model in names]
    rows = sorted(asked, key=lambda row: names.index(row.model))
    text = "\n".join(lines(version, rows, everything)) + "\n"
    given.output.write_text(text, encoding="utf-8")
    missing = [name for name in names if not any(row.model == name and row.steps for row in rows)]
    if missing:
        print(f"no row for {', '.join(missing)}", file=sys.stderr)  # noqa: T201
    return max(int(bool(missing)), *(report.exit_code for report in found))


if __name__ == "__main__":
    sys.exit(main())
