"""Several folders as one: a program and packages that it imports, each with its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibcore.elaborate.python.index import ModuleIndex

if TYPE_CHECKING:
    from fibcore.elaborate.python.areas import Area
    from fibcore.elaborate.python.index import SourceModule


class JoinedIndex(ModuleIndex):
    """The modules of a program, and those of packages whose source is at hand.

    What asks for the program's folder and package gets those of the program.

    Args:
        program: The program's modules.
        packages: Those of other packages.
    """

    def __init__(self, program: ModuleIndex, packages: Sequence[ModuleIndex]) -> None:
        super().__init__(program.root, program.package)
        self._parts = (program, *packages)

    def _holder(self, name: str) -> ModuleIndex | None:
        return next((part for part in self._parts if part.holds(name)), None)

    def module(self, name: str) -> SourceModule | None:
        """The module of this dotted name; None where no folder holds such a file."""
        holder = self._holder(name)
        return None if holder is None else holder.module(name)

    @property
    def size(self) -> int:
        """Characters of the files that were read."""
        return sum(part.size for part in self._parts)

    def is_current(self) -> bool:
        """Whether the files that were asked for are those that are there."""
        return all(part.is_current() for part in self._parts)

    def area(self, name: str) -> Area | None:
        """The files of a module's own folder among which its other users are looked for."""
        holder = self._holder(name)
        return None if holder is None else holder.area(name)

    def holds(self, name: str) -> bool:
        """Whether a dotted name belongs to one of the folders."""
        return self._holder(name) is not None

    def is_package_folder(self, name: str) -> bool:
        """Whether `name` is a folder of the program or of a package."""
        holder = self._holder(name)
        return holder is not None and holder.is_package_folder(name)

    def home(self, module: str, name: str) -> str | None:
        """The module that binds a name which a package imports when it is first asked for."""
        homes = (part.home(module, name) for part in self._parts)
        return next((home for home in homes if home is not None), None)
