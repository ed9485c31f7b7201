"""Write what attributes transformers' base class of models has.

    python tools/model_attributes.py 4.51.1 4.57.1 5.19.0

SGLang's loader asks model classes for attributes of its own, and some of them derive from
`PreTrainedModel`: it matters which names that class may have. The table has those of all releases
given, and of torch's `Module`. Each release's wheel is fetched from PyPI without its dependencies
(or taken from fibcore's cache) and read as text; nothing of it is run. Torch has to be installed.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from fibcore.dataset.files import write_text
from fibcore.elaborate.transformers.model_attributes import TABLE
from fibcore.elaborate.transformers.pins import release_source

BASE = "PreTrainedModel"


def main(versions: list[str]) -> int:
    """Write the table; the exit status."""
    import torch

    names = {n for n in (*dir(torch.nn.Module), *vars(torch.nn.Module())) if n[:1] != "_"}
    for version in versions:
        source, problem = release_source(version)
        if source is None:
            print(f"transformers {version}: {problem}", file=sys.stderr)  # noqa: T201
            return 1
        names |= {n for n in _names(source.root) if n[:1] != "_"}
    text = json.dumps({"releases": versions, "names": sorted(names)}, indent=1) + "\n"
    write_text(TABLE.parent, TABLE, text)
    return 0


def _names(root: Path) -> Iterator[str]:
    """What the class and its bases bind, and what their methods assign to an instance.

    Raises:
        KeyError: a base is in none of the files.
    """
    classes = {}
    for file in root.rglob("*.py"):
        if file.name.startswith("dummy_"):  # stand-ins, where torch is missing
            continue
        text = file.read_text("utf-8")
        for node in ast.parse(text).body if "Mixin" in text or BASE in text else ():
            if isinstance(node, ast.ClassDef) and (node.name == BASE or "Mixin" in node.name):
                classes[node.name] = node
    wanted = [BASE]
    for name in wanted:
        bases = (ast.unparse(base) for base in classes[name].bases)
        wanted += [base for base in bases if base not in ("nn.Module", "object")]
        for node in classes[name].body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield node.name
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        for inner in ast.walk(classes[name]):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                yield inner.attr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
