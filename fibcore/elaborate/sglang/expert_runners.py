"""Functions that SGLang's runners of experts find in tables, which decorators fill.

`@register_fused_func("none", "triton")` enters a function of a module that the server imports, and
`FusedOpPool.get_fused_func("none", "triton")` gives it. Modules are not imported as a whole here,
so the function is found by the text of its decorator.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Args, EnumMember, Kwargs, Native, Raised
from fibcore.elaborate.sglang.environment import Environment
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_FOLDER = "srt.layers.moe.moe_runner"
_ENTRY = re.compile(r"\n@(register_\w+)\(\s*\"(\w+)\",\s*\"(\w+)\",?\s*\)")
_FUNCTION = re.compile(r"^def (\w+)", re.MULTILINE)
_TABLES = {
    "get_fused_func": "register_fused_func",
    "get_pre_permute": "register_pre_permute",
    "get_post_permute": "register_post_permute",
}
"""What asks each table, and the decorator that fills it."""
_TILING = "try_get_optimal_moe_config"
"""Finds the sizes of a kernel's tiles in files by device, and changes nothing else."""


@contextlib.contextmanager
def filled(ev: Evaluator) -> Iterator[None]:
    """Let the tables hold inside what the modules of runners enter."""
    environment = ev.environment
    if not isinstance(environment, Environment):
        yield
        return
    asked = {name: Native(name, partial(_entry, kind)) for name, kind in _TABLES.items()}
    asked[_TILING] = Native(_TILING, lambda *_: Unknown("how a kernel is tiled"))
    with environment.standing_in(asked):
        yield


def _entry(decorator: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The function that is entered under the two names of a call."""
    names = [_text(value) for value in (*args, *kwargs.values())][-2:]
    texts = [name for name in names if name is not None]
    if len(texts) < 2:
        return Unknown(f"which function is entered by {decorator}", place)
    found = _entries(ev.index.root).get((decorator, *texts))
    if found is None:
        if decorator == "register_fused_func":
            return None  # the runner goes step by step then
        raise Raised("AssertionError", f"nothing is entered for {' and '.join(texts)}", place)
    module, function = found
    value = ev.modules.imported(f"{ev.index.package}.{_FOLDER}.{module}", function)
    return Unknown(f"{function} of {module}", place) if value is ABSENT else value


def _text(value: Any) -> str | None:
    """A name, given as text or as a member of an enumeration of texts."""
    held = value.value if isinstance(value, EnumMember) else value
    return str(held) if isinstance(held, str) else None


@cache
def _entries(root: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """Decorator and names to the module and the function."""
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for path in sorted(root.joinpath(*_FOLDER.split(".")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for entry in _ENTRY.finditer(text):
            function = _FUNCTION.search(text, entry.end())
            if function is not None:
                found[entry.groups()] = (path.stem, function[1])
    return found
