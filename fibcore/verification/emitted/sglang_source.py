"""Single functions of SGLang, compiled from its text; nothing of SGLang is imported."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import math
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fibcore.verification.emitted.errors import GroundTruthUnavailableError
from fibcore.verification.emitted.sglang_package import sglang_version

# What SGLang's files import from `typing`; a function's body may use them.
TYPING_NAMES = (
    *("Any", "Callable", "Dict", "Iterable", "List", "Literal", "NamedTuple", "Optional"),
    *("Sequence", "Set", "Tuple", "Type", "TypeVar", "Union", "cast"),
)


@functools.cache
def _parsed(path: Path) -> tuple[ast.Module, str]:
    raw = path.read_bytes()
    return ast.parse(raw.decode("utf-8-sig"), str(path)), hashlib.sha256(raw).hexdigest()


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statement lists inside an `if`, `try` or `with`, which do not open a scope."""
    if isinstance(statement, (ast.If, ast.Try, ast.With)):
        yield statement.body
        yield getattr(statement, "orelse", [])
        yield getattr(statement, "finalbody", [])
        for handler in getattr(statement, "handlers", []):
            yield handler.body


def _named(body: Sequence[ast.stmt], name: str) -> list[Any]:
    """Functions and classes called `name`; a later one in the same block replaces an earlier."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    direct = [s for s in body if isinstance(s, kinds) and s.name == name]
    if direct:
        return direct[-1:]
    return [found for s in body for block in _blocks(s) for found in _named(block, name)]


class SGLangSource:
    """Gives single functions of SGLang, compiled from its text; nothing of SGLang is imported.

    Attributes:
        package: The folder of the package.
        version: Its version, commit or "of unknown version".
        files: SHA-256 of each file that a function was taken from.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        self.version = sglang_version(package)
        self.files: dict[str, str] = {}

    def __call__(self, file: str, qualname: str, /, **namespace: Any) -> Callable[..., Any]:
        """One function or method, alone, as a plain function.

        Decorators are left out and annotations are not evaluated. Its globals are torch, nn, F,
        math and the names of `typing`, and `namespace`.

        Args:
            file: Path below the package: "srt/layers/layernorm.py".
            qualname: "function" or "Class.method" (whose first parameter is then `self`).
            **namespace: More globals: constants, stand-ins, functions loaded before.

        Raises:
            GroundTruthUnavailableError: (a LookupError) this version of SGLang does not have it.
        """
        return self.several(file, qualname, **namespace)[0]

    def several(self, file: str, /, *qualnames: str, **namespace: Any) -> list[Callable[..., Any]]:
        """Several functions of one file that see each other, and `namespace`, as globals."""
        scope: dict[str, Any] = {
            **{n: getattr(typing, n) for n in TYPING_NAMES},
            "torch": torch,
            "nn": torch.nn,
            "F": torch.nn.functional,
            "math": math,
            **namespace,
            "__name__": "sglang_source",
            "__sglang__": self,
        }
        loaded = []
        for qualname in qualnames:
            node = self._find(file, qualname)
            node.decorator_list = []
            path = str(self.package / file)
            code = compile(
                ast.Module([node], []),
                path,
                "exec",
                # What is annotated with names that are not here must not be evaluated.
                flags=annotations.compiler_flag,
                dont_inherit=True,
            )
            try:
                exec(code, scope)  # noqa: S102  (one function of the ground truth's source)
            except NameError as error:
                raise self._missing(file, f"defaults of {qualname} need {error.name!r}") from None
            loaded.append(scope[node.name])
        return loaded

    def has(self, file: str, qualname: str) -> bool:
        """Whether this version of SGLang has a function, for ground truths of several versions."""
        try:
            self._find(file, qualname)
        except GroundTruthUnavailableError:
            return False
        return True

    def _missing(self, file: str, what: str) -> GroundTruthUnavailableError:
        return GroundTruthUnavailableError(f"SGLang {self.version}: {file}: {what}")

    def _find(self, file: str, qualname: str) -> Any:
        try:
            tree, digest = _parsed(self.package / file)
        except OSError:
            raise self._missing(file, "no such file") from None
        except (SyntaxError, ValueError) as error:
            raise self._missing(file, f"cannot be parsed: {error}") from None
        body: Sequence[ast.stmt] = tree.body
        *classes, function = qualname.split(".")
        for name in classes:
            found = [n for n in _named(body, name) if isinstance(n, ast.ClassDef)]
            if len(found) != 1:
                raise self._missing(file, f"{len(found)} classes {name}, expected one")
            body = found[0].body
        found = [n for n in _named(body, function) if not isinstance(n, ast.ClassDef)]
        if len(found) != 1:
            raise self._missing(file, f"{len(found)} functions {qualname}, expected one")
        self.files[file] = digest
        return copy.deepcopy(found[0])
