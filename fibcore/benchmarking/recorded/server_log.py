"""What of a server's log says how a run was made, without what belongs to nobody else."""

from __future__ import annotations

import re

KEPT = re.compile(
    r"server_args|launch_server|ServerArgs\(|Load weight|KV Cache|max_total_num_tokens"
    r"|Prefill batch|Decode batch|version"
)
"""Lines that say what was served and how; requests and their texts are not among them."""

_PRIVATE = (
    (re.compile(r"\b(hf|sk|ghp)[_-][A-Za-z0-9]{8,}"), "TOKEN"),
    (
        re.compile(r"(api_key|token|password|secret)(['\"]?\s*[=:]\s*)[^,\s)]+", re.IGNORECASE),
        r"\1\2REMOVED",
    ),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "ADDRESS"),
    (re.compile(r"(?<![\w.])/(?:[\w.-]+/)+"), "…/"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b"), "MAIL"),
)

MAX_LINES = 400


def sanitised(text: str) -> str:
    """The lines of a log that are kept, without tokens, addresses and folders."""
    kept = []
    for line in text.splitlines():
        if KEPT.search(line) is None:
            continue
        for pattern, replacement in _PRIVATE:
            line = pattern.sub(replacement, line)
        kept.append(line)
        if len(kept) == MAX_LINES:
            break
    return "".join(f"{line}\n" for line in kept)
