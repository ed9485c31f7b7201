"""Equal results in every process: what depends on hashes or addresses is not known.

Python gives strings another hash in each process, so that sets of them have another order.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.model.tree import Unknown

WORDS = '{"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}'
EXPRESSIONS = (
    f"list({WORDS})[0]",
    f"tuple({WORDS})",
    f"next(iter({WORDS}))",
    f"[w for w in {WORDS}]",
    f"{{w: n for n, w in enumerate({WORDS})}}",
    f"dict.fromkeys({WORDS}, 1)",
    f"list(dict.fromkeys({WORDS}))[0]",
    f"','.join({WORDS})",
    f"str({WORDS})",
    f"repr(frozenset({WORDS}))",
    f"f'{{{WORDS}}}'",
    f"'%s' % ({WORDS},)",
    f"'{{}}'.format({WORDS})",
    f"[*{WORDS}][0]",
    f"(lambda *a: a)(*{WORDS})",
    f"list(zip({WORDS}, range(9)))",
    f"list(map(len, {WORDS}))",
    f"list(filter(None, {WORDS}))",
    f"[*enumerate({WORDS})]",
    f"list(reversed(list({WORDS})))",
    f"sorted({WORDS})",
    f"sorted({WORDS}, key=len)",
    f"max({WORDS})",
    f"max({WORDS}, key=len)",
    f"min({WORDS}, key=lambda w: 0)",
    f"len({WORDS})",
    f"'beta' in {WORDS}",
    f"{WORDS} | {{'eta'}}",
    f"list({WORDS} & {{'beta', 'zeta', 'alpha'}})",
    f"list({WORDS} - {{'beta'}})",
    f"{WORDS} == set({WORDS})",
    f"set({WORDS}).pop()",
    f"[s.pop() for s in [set({WORDS})]]",
    f"sum(ord(w[0]) for w in {WORDS})",
    f"sum(n * ord(w[0]) for n, w in enumerate({WORDS}))",
    f"any(w == 'beta' for w in {WORDS})",
    f"[w for w in {WORDS} if w < 'c' or w > 'x'][0]",
    f"list(set({WORDS}) | set(['x', 'y']))",
    f"list({{w: 1 for w in {WORDS}}}.keys() & {{'beta', 'zeta'}})",
    f"list({{w: 1 for w in {WORDS}}} | {{'a': 1}})",
    "hash('abc') % 7",
    "hash(('a', 1)) % 7",
    "hash(frozenset(['a', 'b'])) % 7",
    "{hash('a') % 3: 1}",
    "'abc'.__hash__() % 7",
    "id([]) % 64",
    "id('a') % 64",
    "hash(object()) % 7",
    "str(object())",
    "repr(len)",
    "{('a', 1), ('b', 2)}",
    "list({('a', 1), ('b', 2), ('c', 3)})",
    "list({b'a', b'b', b'c'})",
    "list({None, 'a', 1.5})[0]",
    "list({1, 2, 3})",
    "[n for n in {8, 1, 0}]",
    "list(vars().keys())[:0]",
)
STATEMENTS = {
    "loop": f"x = ''\nfor w in {WORDS}:\n    x += w[0]\n",
    "first": f"for w in {WORDS}:\n    x = w\n    break\n",
    "last": f"for x in {WORDS}:\n    pass\n",
    "unpacked": f"x, *rest = {WORDS}\n",
    "pair": "x, y = {'a', 'b'}\n",
    "counted": f"x = 0\nfor n, w in enumerate({WORDS}):\n    x += n * len(w)\n",
    "guarded": f"x = 0\nfor w in {WORDS}:\n    if w == 'beta':\n        break\n    x += 1\n",
    "merged": f"x = {{}}\nfor w in {WORDS}:\n    x[w] = len(x)\n",
    "appended": f"x = []\nfor w in {WORDS}:\n    x.append(w)\n",
    "extended": f"x = []\nx.extend({WORDS})\n",
    "updated": f"x = {{'z': 0}}\nx.update({{w: 1 for w in {WORDS}}})\n",
    "generator": f"def f():\n    yield from {WORDS}\nx = next(f())\n",
    "popped": f"s = {WORDS}\nx = s.pop()\n",
    "kept": f"s = {WORDS}\ns.discard('beta')\nx = 'beta' in s, len(s)\n",
    "keywords": f"def f(**k):\n    return list(k)\nx = f(**dict.fromkeys({WORDS}))\n",
    "modulo": "class A:\n    pass\nx = hash(A()) % 5\n",
}
SCRIPT = """
import sys
from pathlib import Path
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    try:
        value = Evaluator(ModuleIndex(path.parent)).value(path.stem, "x")
    except BaseException as error:
        value = f"{type(error).__name__}: {error}"
    # A set itself has no order that anything sees.
    shown = sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else repr(value)
    print(path.stem, type(value).__name__, shown)
"""


def run(seed: int, *command: str) -> str:
    """What a command prints in a process with a hash seed of its own."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, *command],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_no_value_depends_on_the_seed_of_hashes(tmp_path: Path) -> None:
    for number, expression in enumerate(EXPRESSIONS):
        (tmp_path / f"e{number:02}.py").write_text(f"x = {expression}\n")
    for name, text in STATEMENTS.items():
        (tmp_path / f"s_{name}.py").write_text(text)
    first = run(0, "-c", SCRIPT, str(tmp_path)).splitlines()
    assert len(first) == len(EXPRESSIONS) + len(STATEMENTS)
    for seed in (1, 2, 3, 4):
        other = run(seed, "-c", SCRIPT, str(tmp_path)).splitlines()
        different = [(a, b) for a, b in zip(first, other, strict=True) if a != b]
        assert different == []


def test_what_has_no_order_of_its_own_is_known(tmp_path: Path) -> None:
    known = {
        "sorted": (f"sorted({WORDS})[0]", "'alpha'"),
        "length": (f"len({WORDS})", "6"),
        "member": (f"'beta' in {WORDS}", "True"),
        "largest": (f"max({WORDS})", "'zeta'"),
        "equal": (f"{WORDS} == set({WORDS})", "True"),
    }
    for name, (expression, _) in known.items():
        (tmp_path / f"{name}.py").write_text(f"x = {expression}\n")
    lines = run(5, "-c", SCRIPT, str(tmp_path)).splitlines()
    found = {line.split()[0]: line.split()[-1] for line in lines}
    assert found == {name: value for name, (_, value) in known.items()}


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_extraction_gives_equal_bytes_for_every_seed(
    tmp_path: Path, tiny_source: Path, tiny_config: Path, more: tuple[str, ...]
) -> None:
    seen = set()
    for seed in (0, 1, 77):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        code = "import os, sys; os.chdir(sys.argv.pop(1)); from fibcore.cli import main; main()"
        arguments = ["extract", "--model-name", "x", "--config", str(tiny_config)]
        arguments += ["--sglang", str(tiny_source), "--tp", "1,2", "--dataset", "ds", *more]
        said = run(seed, "-c", code, str(folder), *arguments)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        assert len(files) > 3
        digest = hashlib.sha256(said.encode())
        for path in files:
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        seen.add(digest.hexdigest())
    assert len(seen) == 1


def test_what_a_set_without_one_of_its_members_holds_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(
        "s = {'a', 'b', 'c'}\ny = s.pop()\nx = [type(y), len(s), 'a' in s, list(s)]\n"
        "one = {'a'}\nz = [one.pop(), len(one)]\n"
    )
    evaluator = Evaluator(ModuleIndex(tmp_path))
    assert all(isinstance(value, Unknown) for value in evaluator.value("made", "x"))
    assert evaluator.value("made", "z") == ["a", 0]
