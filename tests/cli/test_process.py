"""The command line as a process: imports, signals, closed pipes, two runs at once, permissions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("installed_plugins")

HEAVY = ("torch", "transformers", "huggingface_hub", "git", "rich", "numpy", "pytest", "sglang")

Command = Callable[..., list[str]]


@pytest.fixture
def command(tiny_source: Path, tiny_config: Path, tmp_path: Path) -> Command:
    """The command line that extracts the made-up model into a dataset of this name."""

    def make(dataset: str = "d", *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "fibcore", "extract", "--model-name", "tiny"),
            *("--sglang", str(tiny_source), "--config", str(tiny_config)),
            *("--dataset", str(tmp_path / dataset), *more),
        ]

    return make


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]  # noqa: S603
        arguments, capture_output=True, text=True, timeout=120, check=False, **options
    )


def definitions(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


def test_a_process_exits_with_the_status_and_prints_one_document(
    command: Command, tmp_path: Path
) -> None:
    done = run(command("d", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["new"] == 12
    assert run(command("d", "--tp", "3")).returncode == 1
    wrong = run(command("d", "--tp", "x", "--json"))
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["error"]["error"] == "UsageError"
    assert (tmp_path / "d/definitions/gemm/gemm_n_128_k_64.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX's")
def test_on_a_terminal_steps_stay_and_other_programs_read_plain_text(command: Command) -> None:
    import pty

    main, other = pty.openpty()
    done = subprocess.run(  # noqa: S603 - our own command line
        command("d"),
        stdout=subprocess.PIPE,
        stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        timeout=120,
        check=False,
    )
    os.close(other)
    seen = b""
    with contextlib.suppress(OSError):  # Linux's end of a terminal that nobody holds any more
        while part := os.read(main, 65536):
            seen += part
    os.close(main)
    assert done.returncode == 0, seen
    assert re.search(rb"\d\.\d s  tiny: elaborating at TP 1, EP 1: 12 kernels", seen), seen
    assert b"\x1b" in seen
    assert b"\x1b" not in done.stdout


def test_extraction_imports_nothing_heavy(command: Command) -> None:
    arguments = command()[3:]
    code = (
        "import sys\n"
        "from fibcore.cli import cli\n"
        f"assert cli({arguments!r}, standalone_mode=False) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = run([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_fibcore_imports_nothing_of_others() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import fibcore\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))\n"
    )
    assert run([sys.executable, "-c", code]).stdout.strip() == "['fibcore']"


def test_model_source_is_read_and_never_executed(
    command: Command, tiny_source: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "executed"
    for path in tiny_source.rglob("*.py"):
        # Behind everything, so that it changes nothing that elaboration should know.
        path.write_text(path.read_text() + f"\n\nopen({str(trap)!r}, 'w').close()\n")
    assert run(command()).returncode == 0
    assert not trap.exists()


@pytest.mark.parametrize("buffering", [["-u"], []])  # it shows while printing, or at the end
def test_a_closed_pipe_ends_it_quietly(buffering: list[str]) -> None:
    listing = subprocess.Popen(  # noqa: S603
        [sys.executable, *buffering, "-m", "fibcore", "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    errors = listing.stderr.read()
    listing.stderr.close()
    assert listing.wait(60) == 1
    assert errors == b""


def test_two_runs_at_once_lose_nothing(command: Command, tmp_path: Path) -> None:
    assert run(command("alone", "--tp", "1,2,4")).returncode == 0
    both = [
        subprocess.Popen(  # noqa: S603
            command("shared", "--tp", tp), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for tp in ("1,2", "2,4")
    ]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert definitions(tmp_path / "shared") == definitions(tmp_path / "alone")


def test_an_interrupt_leaves_whole_files_and_the_next_run_completes(
    command: Command, tmp_path: Path
) -> None:
    assert run(command("whole")).returncode == 0
    folder = tmp_path / "cut" / "definitions"
    cut = subprocess.Popen(  # noqa: S603
        command("cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while cut.poll() is None and not list(folder.glob("*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    cut.send_signal(signal.SIGINT)
    _, errors = cut.communicate(timeout=60)
    assert cut.returncode in (0, 130), errors  # 0: it was done already
    if cut.returncode == 130:
        assert errors.splitlines()[-1] == "Interrupted."
        assert "Traceback" not in errors
    whole = definitions(tmp_path / "whole")
    for name, content in definitions(tmp_path / "cut").items():
        assert whole[name] == content
    assert not [p for p in (tmp_path / "cut").rglob("*") if p.name.endswith(".tmp")]
    assert run(command("cut")).returncode == 0
    assert definitions(tmp_path / "cut") == whole


def test_a_folder_without_permission_is_a_clear_error(command: Command, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    done = run(command("closed/d"))
    assert done.returncode == 1
    assert "closed/d" in done.stderr
    assert "ermission" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_below_a_file_is_a_clear_error(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(command("file/d"))
    assert done.returncode == 1
    assert "file/d" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_standard_output_is_an_error_without_a_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fibcore", "models", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
