"""Marks and numbers in the cells and sentences of a hand-kept page: `✅`, `5/7`, `KV heads: 8`."""

from __future__ import annotations

import re

from fibcore.reports.coverage.handkept.statements import Number, Status

_NUMBER = r"(?<![A-Za-z0-9_.])[x\u00d7]?(\d{1,3}(?:[,_]\d{3})+|\d+)(?![A-Za-z0-9_.]*[A-Za-z0-9_])"
_LABELLED = re.compile(rf"([A-Za-z][A-Za-z0-9 _/-]{{1,40}}?)\s*[:=]\s*{_NUMBER}")
_COUNTED = re.compile(rf"{_NUMBER}\s+([A-Za-z][A-Za-z-]*(?: [A-Za-z][A-Za-z-]*){{0,3}})")
_SIZE = re.compile(r"\b(TP|EP)\s*[=:]?\s*(\d+)\b", re.IGNORECASE)

_YES = re.compile(
    r"[✅✔✓☑🟢]|:white_check_mark:|:heavy_check_mark:|\[[xX]\]|"
    r"\b(?:done|yes|complete|completed|available|present|added|verified|tested|passed|passing)\b",
    re.IGNORECASE,
)
_NO = re.compile(
    r"[❌✗✘☐⬜🔴🚫⏳🚧]|:x:|\[ \]|\b(?:no|none|missing|todo|tbd|wip|pending|planned|absent|"
    r"unverified|untested|failed|not (?:yet|verified|tested|done|there|available|added)|"
    r"in progress)\b",
    re.IGNORECASE,
)
_LOOSE = re.compile(r"\b(?:no|none|yes|present|failed|added|complete|completed)\b", re.IGNORECASE)
_VERIFIED = re.compile(r"verif|test|pass", re.IGNORECASE)
_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")

_ASPECTS = (
    ("verified", re.compile(r"verif|test|valid", re.IGNORECASE)),
    ("workloads", re.compile(r"workload", re.IGNORECASE)),
    ("baseline", re.compile(r"solution|baseline", re.IGNORECASE)),
    ("benchmarks", re.compile(r"trace|bench|perf|speed", re.IGNORECASE)),
    (
        "definition",
        re.compile(r"status|done|state|added|cover|support|exist|defin|have|ready", re.IGNORECASE),
    ),
)


def mark_of(cell: str) -> bool | tuple[int, int] | None:
    """Whether a cell says done or not; (there, needed) where it says `5/7`; None for neither."""
    fraction = _FRACTION.search(cell)
    if fraction is not None:
        return int(fraction.group(1)), int(fraction.group(2))
    if _NO.search(cell):
        return False
    return True if _YES.search(cell) else None


def status_of(title: str, cell: str) -> Status | None:
    """What a cell under a header says is done."""
    aspect = next((name for name, pattern in _ASPECTS if pattern.search(title)), None)
    mark = mark_of(cell)
    if aspect is None or not isinstance(mark, bool):
        return None
    if aspect == "definition" and _VERIFIED.search(cell):
        aspect = "verified"
    return Status(aspect, mark, cell.strip())


def statuses_in(text: str) -> tuple[Status, ...]:
    """What an item of a list says is done, by its marks and by words that mean nothing else."""
    bare = _LOOSE.sub(" ", text)
    mark = mark_of(bare)
    if not isinstance(mark, bool):
        return ()
    found = (_NO if not mark else _YES).search(bare)
    aspect = "verified" if _VERIFIED.search(bare) else "definition"
    return (Status(aspect, mark, found.group().strip() if found else ""),)


def first_number(cell: str) -> int | None:
    """The number that a cell consists of, whatever explains it in parentheses after it."""
    match = re.match(rf"\W*?{_NUMBER}\s*(?:$|[(*,;/]|layers?\b|heads?\b)", cell.strip())
    return int(re.sub(r"[,_]", "", match.group(1))) if match else None


def numbers_in(text: str) -> tuple[Number, ...]:
    """Numbers with labels in a sentence: `KV heads: 8`, `61 layers`."""
    rest = _SIZE.sub(" ; ", text)
    labelled = [Number(m.group(1).strip(), _int(m.group(2))) for m in _LABELLED.finditer(rest)]
    rest = _LABELLED.sub(" ; ", rest)
    counted = (Number(m.group(2), _int(m.group(1)), True) for m in _COUNTED.finditer(rest))
    return (*labelled, *counted)


def _int(text: str) -> int:
    return int(re.sub(r"[,_]", "", text))


def servings_in(text: str) -> tuple[tuple[int, int], ...]:
    """The (TP, EP) that a text speaks of, 0 where it does not say one of the two."""
    sizes: dict[str, int] = {}
    for name, value in _SIZE.findall(text):
        sizes.setdefault(name.lower(), int(value))
    return ((sizes.get("tp", 0), sizes.get("ep", 0)),) if sizes else ()
