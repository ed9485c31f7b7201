"""A kit that holds what the evaluator makes of a snippet against what CPython computes.

A snippet leaves its result in `x`. One over something unknown reads it as `u`: the evaluator must
give a value that covers what CPython computes for every value that `u` may have. One over layers
reads the index of its layer as `i`: the evaluator must give each layer CPython's value.
"""

from __future__ import annotations

import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import attrs

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.values import ABSENT, Raised
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

LAYERS = 6
_UNKNOWN = "import foreign\ndef run(u):\n{body}    return x\nx = run(foreign.flag())\n"
_LAYERS = (
    "from torch import nn\n{before}\nclass Layer(nn.Module):\n"
    "    def __init__(self, i):\n        super().__init__()\n{body}        self.x = x\n"
    "layers = nn.ModuleList([Layer(i) for i in range({count})])\n"
)


@attrs.frozen
class Snippet:
    """A piece of source, by its name; `values` are those that `u` may have, as expressions."""

    name: str
    body: str
    before: str = ""
    values: tuple[str, ...] = ()


def snippets(text: str) -> list[Snippet]:
    """The snippets of a text: `## name` or `## name => value; value`, then the source.

    What stands behind a line `--` comes before all else of the module.
    """
    found = []
    for part in text.split("\n## ")[1:]:
        head, _, source = part.partition("\n")
        name, _, values = head.partition(" => ")
        body, before, *_ = (*source.split("--\n"), "")
        given = tuple(v.strip() for v in values.split(";") if v.strip())
        found.append(Snippet(name.strip(), body, before, given))
    return found


def parts(several: list[Snippet], count: int = 8) -> list[list[Snippet]]:
    """The snippets in so many parts, for processes to share; a test each would cost more."""
    return [several[number::count] for number in range(count)]


def evaluated(folder: Path, text: str, name: str) -> tuple[Evaluator, Any]:
    """What the evaluator gives for a name of the module `made`; what it raises stands for it."""
    (folder / "made.py").write_text(text, encoding="utf-8")
    evaluator = Evaluator(ModuleIndex(folder))
    try:
        return evaluator, evaluator.value("made", name)
    except Raised as error:
        return evaluator, error


def uncovered(folder: Path, snippet: Snippet) -> list[str]:
    """What CPython computes of a snippet over something unknown, and the evaluator excludes."""
    body = textwrap.indent(snippet.body, "    ")
    text = snippet.before + _UNKNOWN.format(body=body)
    _, found = evaluated(folder, text, "x")
    wrong = []
    for value in snippet.values:
        try:
            expected = _python(text, foreign_flag=value)["x"]
        except Exception:  # noqa: BLE001, S112 - the source as it is published runs
            continue
        if isinstance(found, Raised) or not covers(found, expected):
            wrong.append(f"u = {value}: CPython gives {expected!r}, not {found!r}")
    return wrong


def differing(folder: Path, snippet: Snippet) -> list[str]:
    """Layers of a snippet whose values are not those that CPython computes."""
    body = textwrap.indent(snippet.body, " " * 8)
    text = _LAYERS.format(before=snippet.before, body=body, count=LAYERS)
    evaluator, layers = evaluated(folder, text, "layers")
    expected = [layer.x for layer in _python(text)["layers"]]
    if isinstance(layers, Unknown):
        return []
    place = SourcePlace("made.py", 1)
    found = [evaluator.attributes.get(layer, "x", place) for layer in layers.entries]
    return [
        f"layer {i}: CPython gives {right!r}, not {value!r}"
        for i, (value, right) in enumerate(zip(found, expected, strict=True))
        if not covers(value, right)
    ]


def repeats(folder: Path, snippet: Snippet) -> int:
    """How many layers of a snippet are repeats of another one."""
    body = textwrap.indent(snippet.body, " " * 8)
    text = _LAYERS.format(before=snippet.before, body=body, count=LAYERS)
    _, layers = evaluated(folder, text, "layers")
    return sum(len(getattr(layer, "repeats", ())) for layer in layers.entries)


def covers(found: Any, expected: Any) -> bool:
    """Whether what the evaluator gives stands for a value, among others or alone."""
    if isinstance(found, Unknown):
        return True
    if isinstance(found, Alternatives):
        return any(covers(v, expected) for v in found.values if v is not ABSENT)
    if isinstance(found, (set, frozenset)) and any(isinstance(v, Unknown) for v in found):
        return {v for v in found if not isinstance(v, Unknown)} <= set(expected)
    if isinstance(found, (list, tuple)):
        if any(isinstance(v, Unknown) and v.kind is UnknownKind.ENTRY for v in found):
            return isinstance(expected, type(found))
        return (
            type(found) is type(expected)
            and len(found) == len(expected)
            and all(map(covers, found, expected))
        )
    if isinstance(found, dict):
        return isinstance(expected, dict) and _covers_dict(found, expected)
    alike = isinstance(found, bool) is isinstance(expected, bool)
    alike = alike and isinstance(found, float) is isinstance(expected, float)
    return alike and bool(found == expected)


def _covers_dict(found: dict[Any, Any], expected: dict[Any, Any]) -> bool:
    open_ended = any(not isinstance(k, (str, int, float, tuple, type(None))) for k in found)
    doubtful = {k for k, v in found.items() if isinstance(v, Alternatives) and ABSENT in v.values}
    certain = [k for k in found if k not in doubtful]
    if not open_ended:
        order = [k for k in expected if k not in doubtful]
        if order != certain or not set(expected) <= set(found):
            return False
    return all(covers(found[k], v) for k, v in expected.items() if k in found)


def _python(text: str, foreign_flag: str = "None") -> dict[str, Any]:
    """The names of a module that CPython runs, with stand-ins for torch and the unknown."""

    class Module:
        pass

    nn = types.ModuleType("torch.nn")
    nn.Module, nn.ModuleList = Module, list  # type: ignore[attr-defined]
    torch = types.ModuleType("torch")
    torch.nn = nn  # type: ignore[attr-defined]
    foreign = types.ModuleType("foreign")
    foreign.flag = lambda *_: eval(foreign_flag)  # type: ignore[attr-defined]  # noqa: S307
    foreign.touch = _touch  # type: ignore[attr-defined]
    made = {"torch": torch, "torch.nn": nn, "foreign": foreign}
    made["made"] = types.ModuleType("made")
    saved = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        names = made["made"].__dict__
        exec(compile(text, "made.py", "exec"), names)  # noqa: S102
        return names
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _touch(value: Any, *_: Any, **__: Any) -> Any:
    """A function that nothing is known of: it changes what it is handed."""
    if isinstance(value, list):
        value.append(77)
    elif isinstance(value, dict):
        value["touched"] = 77
    elif isinstance(value, set):
        value.add(77)
    else:
        value.x = 77
    return value
