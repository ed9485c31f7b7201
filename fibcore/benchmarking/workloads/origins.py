"""Where workloads come from: `reports/workloads/<definition>.json`.

flashinfer-bench's workloads have no field for it. Those of a real run are listed with the calls
that they were made of; fibcore's own, which are drawn, are listed as synthetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.dataset import BrokenFileError
from fibcore.dataset.files import read_text

if TYPE_CHECKING:
    from fibcore.dataset import Dataset

FOLDER = "reports/workloads"


def origin_file(name: str) -> str:
    """The file of the definition `name`."""
    return f"{FOLDER}/{name}.json"


def read_origins(dataset: Dataset, name: str) -> dict[str, Any]:
    """What is known of a definition's workloads; empty where nothing is.

    Raises:
        BrokenFileError: the file holds something else.
    """
    path = dataset.root / origin_file(name)
    if not path.exists():
        return {}
    try:
        data = json.loads(read_text(dataset.root, path))
    except ValueError as error:
        raise BrokenFileError("not JSON", path=origin_file(name), found=str(error)) from None
    if not isinstance(data, dict):
        raise BrokenFileError("not an object", path=origin_file(name), found=type(data).__name__)
    return data


def mark_synthetic(dataset: Dataset, name: str, uuids: Iterable[str]) -> None:
    """Say which of a definition's workloads are drawn, in place of what was said before."""
    known = read_origins(dataset, name)
    marked = list(uuids)
    if not marked:
        known.pop("synthetic", None)
    else:
        known["synthetic"] = marked
    _write(dataset, name, known)


def mark_recorded(dataset: Dataset, name: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Add workloads of a real run, by uuid, each with what it was made of."""
    known = read_origins(dataset, name)
    known["recorded"] = {**known.get("recorded", {}), **{u: dict(d) for u, d in found.items()}}
    _write(dataset, name, known)


def _write(dataset: Dataset, name: str, data: Mapping[str, Any]) -> None:
    if data:
        text = json.dumps(dict(sorted(data.items())), indent=2, ensure_ascii=False) + "\n"
        dataset.write(origin_file(name), text)
    else:
        dataset.remove(origin_file(name))
