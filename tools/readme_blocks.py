"""What README.md shows of commands, as they print it.

    python tools/readme_blocks.py SGLANG

writes the blocks anew, from a source of the SGLang release that README.md names; without that
argument nothing is written. tests/tools/test_readme_blocks.py holds them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
RELEASE = "0.5.23"
SEVERAL = ("llama", "qwen2_moe", "deepseek_v3", "mixtral")


def printed(folder: Path, *models: str) -> str:
    """What an extraction prints in a folder with `repos/sglang`."""
    names = [argument for model in models for argument in ("--model-name", model)]
    command = [sys.executable, "-m", "fibcore", "extract", *names]
    done = subprocess.run(  # noqa: S603 - our own command line
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def written_anew(text: str, sglang: Path) -> str:
    """The text of README.md with the blocks as the commands print them now.

    Args:
        text: The text as it is.
        sglang: A folder with the package sglang of `RELEASE`.
    """
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / key for key in ("llama", "deepseek", "several")]
        for folder in folders:
            (folder / "repos").mkdir(parents=True)
            (folder / "repos" / "sglang").symlink_to(sglang.resolve())
        llama, deepseek = printed(folders[0], "llama"), printed(folders[1], "deepseek_v3")
        for model in SEVERAL:
            printed(folders[2], model)
        several = printed(folders[2], *SEVERAL)
    text = _put(text, r"llama-3\.1-8b \(TP 1, EP 1\)\n", r"\.\.\.\n", llama.partition("\n\n")[0])
    rows = re.findall(r"^  \w+ +\w+ +new ", llama, re.MULTILINE)
    summary = (
        f"definitions: {len(rows)} new, 0 merged, 0 unchanged, 0 conflicting; models: 1, "
        f"0 of them partial, 0 refused\ntests: … passed, 0 skipped, 0 failed; {len(rows)} of "
        f"{len(rows)} definitions verified against a ground truth\n"
    )
    text = _put(text, r"definitions: \d+ new, 0 merged", "```", summary)
    text = _put(text, r"deepseek-v3 \(TP 8, EP 8\)\n", "```", deepseek.rstrip())
    return _put(text, "Shared kernels:\n", "```", several[several.index("Shared kernels:") :])


def _put(text: str, start: str, end: str, block: str) -> str:
    """The text with another block from the line that starts it to the one behind it."""
    found = re.search(rf"^{start}(?s:.*?)(?=^{end})", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{README.name} has no block from {start!r} to {end!r}")
    return text[: found.start()] + block.rstrip() + "\n" + text[found.end() :]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    README.write_text(written_anew(README.read_text("utf-8"), Path(sys.argv[1])), "utf-8")
