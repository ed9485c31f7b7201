"""Hostile source ends: in seconds, in little memory, and with an error that names the place.

All programs of `snippets/hostile.txt` run in one process, which the system ends where the evaluator
does not. Python itself would end none of the most of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).parent / "snippets" / "hostile.txt"
MAX_STEPS = 150_000
"""A small part of what an evaluation may take: the costs of steps are the same."""
YARDSTICK = "n = 0\nwhile True:\n    n += 1\n"
MAX_RATIO = 12.0
"""Of the processor's time that the yardstick's steps take in the same process: machines differ."""
MAX_MEMORY = 1000 << 20

_RUN = """
import json, resource, sys, time
from pathlib import Path
from fibcore.elaborate.python import budget
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.values import Raised

folder, programs, steps = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
budget.MAX_STEPS = int(steps)
sys.setrecursionlimit(12_000)
for number, (name, text) in enumerate(programs.items()):
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 30, -1))
    module = f"m{number}"
    lines = "\\n".join("    " + line for line in text.splitlines())
    folder.joinpath(f"{module}.py").write_text(f"def run():\\n{lines}\\n    return 0\\n")
    began = time.thread_time()
    print(json.dumps({"name": name}), flush=True)
    try:
        Evaluator(ModuleIndex(folder)).call(module, "run")
        end = "value"
    except budget.Exhausted as error:
        end = f"exhausted: {error}"
    except Raised as error:
        end = f"raised: {error}"
    taken = time.thread_time() - began
    # `ru_maxrss` would begin with what the process that started this one takes.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"name": name, "end": end, "taken": taken, "peak": peak}), flush=True)
"""


def programs() -> dict[str, str]:
    found = {}
    for part in SNIPPETS.read_text().split("## ")[1:]:
        name, _, text = part.partition("\n")
        found[name] = text
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are the system's own")
def test_hostile_source_ends(tmp_path: Path) -> None:
    given = {"yardstick": YARDSTICK, **programs()}
    assert len(given) >= 60
    tmp_path.joinpath("programs.json").write_text(json.dumps(given))
    source = tmp_path / "source"
    source.mkdir()
    command = [sys.executable, "-c", _RUN, source, tmp_path / "programs.json", str(MAX_STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    last = lines[-1]["name"] if lines else ""
    assert done.returncode == 0, f"ended in {last!r}: {done.stderr[-2000:]}"
    ends = [line for line in lines if "end" in line]
    assert [line["name"] for line in ends] == list(given)
    allowed = MAX_RATIO * ends[0]["taken"]
    slow = {line["name"]: line["taken"] for line in ends if line["taken"] > allowed}
    assert not slow, allowed
    assert max(line["peak"] for line in ends) < MAX_MEMORY
    # What is spent says where, and how much.
    for line in ends:
        if line["end"].startswith("exhausted"):
            assert ".py:" in line["end"], line
