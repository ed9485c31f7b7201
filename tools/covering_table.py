"""Write fibcore/ops/covering.json: which of the project's plugins covers which class or function.

    python tools/covering_table.py --sglang FOLDER --configs DIR [--output FILE]

FOLDER holds the package `sglang`. Every config below DIR is looked at with all plugins that are
installed; a class is a plugin's where it has a kernel for a module of that class, and for no fewer
than one in `RARE` of those that the plugin with most has. What the file has of classes that these
configs do not show stays.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from pathlib import Path

from fibcore.dataset.files import write_elsewhere
from fibcore.errors import FibcoreError
from fibcore.extraction.find import find_kernels, resolve
from fibcore.extraction.request import Request
from fibcore.model.json import decode
from fibcore.ops.authoring.tables import json_text
from fibcore.ops.covering import FILE
from fibcore.ops.registry import load_plugins
from fibcore.sources.finding import find_source

RARE = 10


def main() -> int:
    """Look at the configs and write the table; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sglang", required=True)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    registry = load_plugins()
    source = find_source(given.sglang, Path())
    owners = {
        op_type: distribution
        for op_type, owner in registry.op_types().items()
        for plugin in registry.plugins
        if plugin.name == owner.plugin and (distribution := plugin.distribution) is not None
    }
    uses: dict[str, Counter[str]] = {}
    for path in sorted(given.configs.rglob("*.json")):
        try:
            model = resolve(path.stem, source, config=path)
            serving = Request().serving(model, 1, 1, registry.options)
            kernels = find_kernels(source, model, serving, registry).kernels
        except FibcoreError as error:
            sys.stderr.write(f"{path.name}: {error.summary}\n")
            continue
        for kernel in kernels:
            for use in kernel.uses:
                uses.setdefault(use.cls.rpartition(".")[2], Counter())[owners[kernel.op_type]] += 1
        gc.collect()
    table: dict[str, list[str]] = decode(given.output.read_text()) if given.output.exists() else {}
    table |= {name: _mostly(counted) for name, counted in uses.items()}
    write_elsewhere(given.output, json_text(dict(sorted(table.items()))))
    return 0


def _mostly(counted: Counter[str]) -> list[str]:
    """The plugins with more than a few of the uses of a class."""
    most = max(counted.values())
    return sorted(plugin for plugin, count in counted.items() if count * RARE >= most)


if __name__ == "__main__":
    sys.exit(main())
