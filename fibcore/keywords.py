"""Keywords of the functions of the API: several ways to give a value, and names that are wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast, overload

from fibcore.errors import UsageError, nearest

Keywords = TypeVar("Keywords")
Function = TypeVar("Function", bound=Callable[..., Any])


def api(keywords: Any, *, options: bool = False) -> Callable[[Function], Function]:
    """Make a function refuse keywords that it does not take, with the nearest that it does.

    Args:
        keywords: The TypedDict of the function's `**` parameter.
        options: Whether op types declare further keywords; these reach the function as `options`.
    """

    def decorate(function: Function) -> Function:
        own = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        known = (*own, *keywords.__annotations__)

        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            further = {name: given.pop(name) for name in list(given) if name not in known}
            if not further:
                return function(*args, **given)
            if not options:
                raise unknown_keyword(function.__name__, next(iter(further)), known)
            given["options"] = {**(given.get("options") or {}), **further}
            try:
                return function(*args, **given)
            except UnknownOptionError as error:
                raise unknown_keyword(
                    function.__name__, error.option, (*known, *error.declared), error.hint
                ) from None

        checked.keywords = known  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def user_path(path: str | Path, where: str) -> Path:
    """A path that a user named, in which `~` and `~name` stand for folders of users.

    Raises:
        UsageError: there is no such user, or it has no folder; `where` is what named the path.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            "no such user, or one without a folder",
            where=where,
            expected="a path, or ~ or ~NAME in front of one",
            found=f"{path} ({error})",
        ) from None


def part(keywords: type[Keywords], given: Any) -> Keywords:
    """The keywords of one TypedDict out of those of a wider one."""
    known = keywords.__annotations__
    return cast("Keywords", {name: value for name, value in given.items() if name in known})


@overload
def several(value: str | Iterable[str] | None) -> tuple[str, ...]: ...  # type: ignore[overload-overlap]
@overload
def several(value: int | Iterable[int] | None) -> tuple[int, ...]: ...  # type: ignore[overload-overlap]
@overload
def several(value: str | Path | Iterable[str | Path] | None) -> tuple[str | Path, ...]: ...
def several(value: Any) -> tuple[Any, ...]:
    """One thing or several as a tuple without repetitions; None is nothing."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (value,)
    return tuple(dict.fromkeys(value))


def listed(value: Any) -> tuple[Any, ...]:
    """`several`, where one text may hold several things with commas between, as options do.

    Text that is a number becomes it: "1,8" is (1, 8), "decode,prefill" two words.
    """
    parts: list[Any] = []
    for one in several(value):
        texts = [part.strip() for part in one.split(",")] if isinstance(one, str) else [one]
        parts += [int(text) if str(text).isdecimal() else text for text in texts]
    return tuple(dict.fromkeys(parts))


class UnknownOptionError(UsageError):
    """No op type declares an option of this name.

    Attributes:
        option: The name.
        declared: The options that op types declare.
    """

    def __init__(self, option: str, declared: Iterable[str]) -> None:
        self.option = option
        self.declared = tuple(declared)
        super().__init__(
            "no op type of an installed plugin has this option",
            where=option,
            expected=", ".join(nearest(option, self.declared))
            or "none: no installed plugin declares any",
            hint="plugins bring options; fibcore plugins lists them",
        )


def unknown_keyword(
    function: str, name: str, known: Iterable[str], hint: str | None = None
) -> UsageError:
    """The error for a keyword that a function does not take."""
    return UsageError(
        f"{function} takes no such keyword",
        where=name,
        expected=", ".join(nearest(name, known)),
        found=repr(name),
        hint=hint,
    )
