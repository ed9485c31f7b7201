"""`fibcore.new_op`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fibcore.errors import UsageError
from fibcore.keywords import api, user_path
from fibcore.scaffolding.naming import check
from fibcore.scaffolding.rendering import rendered
from fibcore.scaffolding.report import NewOpReport
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(Where)
def new_op(name: str, *, directory: str | Path = ".", **where: Unpack[Where]) -> NewOpReport:
    """Write a plugin for a new op type: a distribution that installs and passes its own tests.

    It works as it is, as an example whose class, tensors and mathematics its author replaces; the
    places are marked.

    Args:
        name: What the op type is called, in snake_case.
        directory: The folder in which `op_NAME` is made; it is made too where it is missing.
        **where: Which plugins are installed, whose names are taken; see `Where`.

    Raises:
        UsageError: the name cannot be had, or there is something at the place; nothing is written.
    """
    names = check(name, Workspace.of(**where).registry)
    folder = user_path(directory, "directory") / names.folder
    texts = rendered(names)
    _write(folder, texts)
    files = tuple(map(str, texts))
    return NewOpReport(names.name, folder, names.distribution, names.package, files)


def _write(folder: Path, texts: Mapping[PurePosixPath, str]) -> None:
    """Write files into a new folder; where the disk refuses one, none is left.

    Raises:
        UsageError: the folder is there already, or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError as error:
        raise UsageError(
            "nothing is overwritten",
            where=str(error.filename or folder),
            expected="a folder to be made" if error.filename == str(folder) else "a folder",
            found="something that is there already",
            hint="choose another name or --directory, or remove it",
        ) from None
    except NotADirectoryError as error:
        raise UsageError(
            "a file is in the way",
            where=str(error.filename or folder),
            expected="folders",
            found=str(error.strerror),
            hint="choose another --directory",
        ) from None
    try:
        for path, text in texts.items():
            (folder / path.parent).mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
