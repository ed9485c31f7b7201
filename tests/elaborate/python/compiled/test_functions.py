"""Compiled functions give what CPython gives, for every layer and every list."""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.compiled import functions as compiled
from fibcore.elaborate.python.compiled.entries import Entries
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex

SOURCE = textwrap.dedent("""
    import re
    from functools import lru_cache

    FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}

    def on_path(entry, name):
        entry = entry.rstrip(".")
        if entry == name:
            return True
        if name.startswith(entry + "."):
            return True
        return ("." + entry + ".") in ("." + name + ".")

    def skipped(name, entries):
        last = name.split(".")[-1]
        if last in FUSED:
            found = None
            for part in FUSED[last]:
                now = any(on_path(e, name.replace(last, part)) for e in entries)
                if found is None:
                    found = now
                elif now != found:
                    return "some"
            return found
        found = any(on_path(entry, name) for entry in entries)
        if "experts" in name:
            found = found or any(name in e for e in entries if "experts" in e)
        return found

    @lru_cache(maxsize=None)
    def pattern(text):
        return re.compile(text.replace(".", r"\\.").replace("*", r".*"))

    def excluded(name, entries):
        names = [name]
        if name.startswith("language_model."):
            names.append(name.removeprefix("language_model."))
        tails = {"q_a_proj", "kv_b_proj"}
        for entry in entries:
            compiled = pattern(entry)
            for one in names:
                if compiled.fullmatch(one):
                    return True
                for part in one.split("."):
                    if compiled.fullmatch(part):
                        return True
            tail = entry.rsplit(".", maxsplit=1)[-1]
            if tail in tails:
                for one in names:
                    if tail in one.rsplit(".", maxsplit=1)[-1]:
                        return True
        return False

    def expressed(name, entries):
        for entry in entries:
            expression = entry.replace(".", r"\\.").replace("*", r".*")
            if re.fullmatch(expression, name) or re.fullmatch(expression, name + ".x"):
                return True
        return False

    def not_matched(name, entries):
        found = []
        for entry in entries:
            if pattern(entry).fullmatch(name) is None:
                found.append(entry)
        return found

    def first(name, entries):
        for entry in entries:
            if entry.startswith(name) or name in entry:
                return entry
        return None

    def algorithm(name, entries):
        table = {entry: {"kind": "A" if "proj" in entry else "B"} for entry in entries}
        inside = name + "."
        for key, info in table.items():
            if key.startswith(inside):
                return info["kind"]
        return table[name]["kind"].lower() if name in table else None

    def counted(name, entries):
        found = 0
        for entry in entries:
            if len(entry) > len(name):
                found += 1
        return found

    def longest(name, entries):
        table = {e: 1 for e in entries}
        found = sorted(table.items(), key=lambda i: len(i[0]), reverse=True)
        return [e for e in found if e[0] in name]

    def every(functions, names, entries):
        return [function(name, entries) for function in functions for name in names]
""")
FUNCTIONS = (
    "skipped",
    "excluded",
    "expressed",
    "not_matched",
    "first",
    "algorithm",
    "counted",
    "longest",
)
PARTS = ("self_attn.q_proj", "self_attn.qkv_proj", "self_attn.fused_q_a_proj", "mlp.experts",
         "mlp.gate", "mlp.w1", "mlp")  # fmt: skip
NAMES = [
    f"{head}model.layers.{number}.{part}"
    for head in ("", "language_model.")
    for number in (0, 1, 2, 4, 10, 11, 21, 40, 100)
    for part in PARTS
] + ["lm_head", "model.layers.7", "model.1.layers.3.mlp", "1.mlp"]


@pytest.fixture(scope="module")
def python() -> dict[str, Any]:
    """The functions in Python."""
    space: dict[str, Any] = {}
    exec(compile(ast.parse(SOURCE), "source", "exec"), space)  # noqa: S102 - our own source
    return space


@pytest.fixture
def evaluator(tmp_path: Path) -> Evaluator:
    (tmp_path / "made.py").write_text(SOURCE, encoding="utf-8")
    return Evaluator(ModuleIndex(tmp_path))


def lists(seed: int) -> list[str]:
    """A list as quantisation configs have them: most of it for some layers, and some odd ones."""
    draw = random.Random(seed)  # noqa: S311 - the same lists each time
    entries = []
    for _ in range(draw.randint(9, 40)):
        number = draw.choice((0, 1, 2, 3, 4, 7, 10, 11, 12, 14, 40, 101))
        part = draw.choice((*PARTS, "self_attn.k_proj", "self_attn.v_proj", "self_attn.q_a_proj"))
        name = f"{draw.choice(('', 'language_model.'))}model.layers.{number}.{part}"
        cut = draw.choice(("", "", "", "*", ".", ".experts.3.w1", ".experts.1."))
        entries.append(name[: draw.choice((len(name), len(name) - 3))] + cut)
    odd = (
        "lm_head",
        "model.layers.1*",
        "*.mlp",
        "mlp.gate",
        "10",
        "q_proj",
        "layers.4",
        "w1",
        "*1*",
    )
    entries += draw.sample(odd, draw.randint(0, 3))
    draw.shuffle(entries)
    return entries


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", range(12))
def test_results_are_those_of_python(
    name: str, seed: int, evaluator: Evaluator, python: dict[str, Any]
) -> None:
    entries = lists(seed)
    for layer in NAMES:
        assert evaluator.call("made", name, layer, entries) == python[name](layer, entries), (
            layer,
            entries,
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_compiled(
    name: str, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    run = compiled._Function.run
    monkeypatch.setattr(
        compiled._Function,
        "run",
        lambda self, given: (calls.append(self.node.name), run(self, given))[1],
    )
    for layer in NAMES[:9]:
        evaluator.call("made", name, layer, lists(1))
    assert name in calls


def test_a_list_that_changes_is_looked_at_anew(evaluator: Evaluator) -> None:
    entries = [f"model.layers.{n}.mlp.gate" for n in range(40)]
    for number in range(12):
        layer = f"model.layers.{number}.mlp.w1"
        assert evaluator.call("made", "excluded", layer, entries) is False
        entries[number] = layer
        assert evaluator.call("made", "excluded", layer, entries) is True


CHANGING = """
def excluded(name, entries):
    return any(entry == name for entry in entries)


def asked(change):
    entries = [f"model.layers.{n}.mlp.gate" for n in range(200)]
    found = []
    for number in range(8):
        name = f"model.layers.{number}.mlp.w1"
        found.append(excluded(name, entries))
        change(entries, name)
        found.append(excluded(name, entries))
    return found


def appended(entries, name):
    entries.append(name)


def replaced(entries, name):
    entries[100] = name


def taken_back(entries, name):
    entries.insert(0, name)
    entries.remove(name)
"""


@pytest.mark.parametrize("change", ["appended", "replaced", "taken_back"])
def test_a_long_list_that_the_source_changes_is_looked_at_anew(change: str, tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(CHANGING, encoding="utf-8")
    evaluator = Evaluator(ModuleIndex(tmp_path))
    function = evaluator.value("made", change)
    found = evaluator.call("made", "asked", function)
    assert found == [False, change != "taken_back"] * 8


def test_a_long_list_is_looked_at_once_for_all_numbers(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[Any] = []
    ends = Entries._ends
    monkeypatch.setattr(
        Entries, "_ends", lambda self, at, run: (rounds.append(at), ends(self, at, run))[1]
    )
    names = [f"model.layers.{n}.mlp.{part}" for n in range(100) for part in ("gate", "w1")]

    def ask(numbers: range) -> int:
        rounds.clear()
        for number in numbers:
            assert evaluator.call("made", "excluded", f"model.layers.{number}.mlp", names) is False
        return len(rounds)

    assert ask(range(10, 60)) > 0
    assert ask(range(60, 99)) == 0  # no number has to do with an entry in another way


@pytest.mark.parametrize(
    "body",
    [
        "return any(e.title() == name for e in entries)",
        "return [e for e in entries if name % 1]",
        "return [e * 2 for e in entries]",
        "found = {e for e in entries}\n    return sorted(found)[0] + name",
        "for e in entries:\n        entries = [e]\n    return entries",
        "for e in entries:\n        if e is name:\n            raise ValueError(e)\n    return 1",
        "return [*entries, name][-1]",
        "return [n for n, e in enumerate(entries) if e.isdigit()]",
    ],
)
def test_what_is_not_done_here_is_left_to_the_evaluator(body: str, tmp_path: Path) -> None:
    text = f"def f(name, entries):\n    {body}\n"
    (tmp_path / "made.py").write_text(text, encoding="utf-8")
    evaluator = Evaluator(ModuleIndex(tmp_path))
    space: dict[str, Any] = {}
    exec(text, space)  # noqa: S102 - our own source
    wanted: Callable[..., Any] = space["f"]
    for entries in ([f"e{n}" for n in range(20)], [], ["7", "a"]):
        for _ in range(6):
            try:
                expected: Any = wanted("a", entries)
            except Exception as error:  # noqa: BLE001 - whatever Python raises
                with pytest.raises(Exception, match=type(error).__name__):
                    evaluator.call("made", "f", "a", entries)
                continue
            found = evaluator.call("made", "f", "a", entries)
            assert found == expected or "unknown" in str(found)


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    text = textwrap.dedent("""
        def alike(a, b):
            if type(a) is not type(b):
                return False
            if isinstance(a, dict):
                return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
            return a == b

        def run(a, b):
            return [alike(a, a), alike(a, b), alike(b, b), alike(1, 2), alike(a, 1), alike(b, a)]
    """)
    (tmp_path / "m.py").write_text(text)
    a, b = {"x": {"y": [1], "z": {}}}, {"x": {"y": [1], "z": {"w": 1}}}
    result = Evaluator(ModuleIndex(tmp_path)).call("m", "run", a, b)
    assert result == [True, False, True, False, False, False]


HOSTILE = {
    "items of a list": "for a in values:\n        n = n + len(list(values))",
    "membership in a list": "for a in values:\n        n = n + (1 if a in values else 0)",
    "an item by its number": "for a in values:\n        n = n + values[0]",
    "slices": "for a in values:\n        n = n + len(values[1:])",
    "long texts": "for a in values:\n        n = n + (1 if 'b' in text else 0)",
    "numbers that double": "n = 1\n    for a in values:\n        n = n + n\n    n = n - n",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_takes_time_by_its_size_is_charged(body: str, tmp_path: Path) -> None:
    source = f"def run(values, text):\n    n = 0\n    {body}\n    return n\n"
    source += "def start(count):\n    return run([1] * count, 'a' * 16 * count)\n"
    (tmp_path / "m.py").write_text(source)
    steps = []
    for count in (1000, 2000):
        evaluator = Evaluator(ModuleIndex(tmp_path))
        evaluator.call("m", "start", count)
        steps.append(evaluator.budget.steps)
    assert steps[1] > 3 * steps[0] or body.startswith("n = 1")
    assert steps[0] < 4_000_000
