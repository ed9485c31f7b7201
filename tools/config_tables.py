"""Write the tables of transformers' config classes that fibcore ships.

    python tools/config_tables.py 4.57.1 5.19.0

Each release's wheel is fetched from PyPI without its dependencies (or taken from fibcore's cache);
its config classes are read as text and nothing of it is run. The same release gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fibcore.dataset.files import write_text
from fibcore.elaborate.transformers.class_tables import TABLES, table_text
from fibcore.elaborate.transformers.pins import release_source

FOLDER = Path(__file__).parent.parent / "fibcore" / "elaborate" / "transformers" / TABLES


def main(versions: list[str]) -> int:
    """Write a table for each version; the exit status."""
    for version in versions:
        source, problem = release_source(version)
        if source is None:
            print(f"transformers {version}: {problem}", file=sys.stderr)  # noqa: T201
            return 1
        path = FOLDER / f"transformers-{version}.jsonl"
        write_text(FOLDER, path, table_text(source.root))
        print(path)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
