"""Packages that only some commands need: the extra that brings them, and the error without it."""

from __future__ import annotations

import importlib.util
import sys

from fibcore.errors import MissingPackageError

EXTRAS = {
    "report": ("jinja2", "markdown_it", "pygments"),
    "web": ("tree_sitter", "tree_sitter_typescript"),
    "bench": ("ml_dtypes", "numpy", "safetensors"),
    "dask": ("distributed",),
    "verify": ("pytest", "torch"),
}
"""The modules that each extra of pyproject.toml brings, by extra; `all` brings them all."""

SOURCES = {"sglang": "sglang", "flashinfer": "gpu"}
"""The extra that installs a package whose source is read, by package."""


def need(extra: str, what: str, *modules: str, otherwise: str | None = None) -> None:
    """Refuse to go on without the packages of an extra.

    Modules of an extra are imported inside functions, after a call of this one; what works for
    long before it needs them calls it at its beginning as well.

    Args:
        extra: The extra, a key of `EXTRAS`.
        what: What needs it, the plural noun that a sentence begins with: "HTML pages".
        modules: The modules that are needed; all of the extra's where none is named.
        otherwise: What the user can do instead of installing the extra.

    Raises:
        MissingPackageError: a package is not installed; the hint names the extra.
    """
    wanted = modules or EXTRAS[extra]
    gone = missing(*wanted)
    if gone:
        packages = " and ".join(name.replace("_", "-") for name in gone)
        hint = f"pip install 'fibcore[{extra}]'"
        raise MissingPackageError(
            f"{what} need {packages}",
            where=sys.executable,
            found=f"not installed: {packages}",
            hint=hint if otherwise is None else f"{hint}, or {otherwise}",
        )


def missing(*modules: str) -> tuple[str, ...]:
    """Those of some top-level modules that are not installed."""
    return tuple(name for name in modules if importlib.util.find_spec(name) is None)
