"""Where the functions of the API work: repositories, dataset, SGLang's source and plugins.

Every function of the API takes the keywords of `Where`, with one meaning and the same defaults. It
makes a `Workspace` of them, which finds each thing when it is first asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import attrs

from fibcore.errors import UsageError
from fibcore.keywords import api, several, unknown_keyword
from fibcore.ops.listing import PluginsReport
from fibcore.ops.registry import Registry, load_plugins
from fibcore.progress import Progress
from fibcore.sources.finding import find_source
from fibcore.sources.packages import find_packages
from fibcore.sources.repos_config import repository_path
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.sources.repos_config import ReposConfig

DATASET_FOLDER = "flashinfer-trace"
"""The dataset's folder below the target dir, where none is named."""


class Place(TypedDict, total=False):
    """The keywords of `Where` without the source, of which a comparison has two.

    Attributes:
        target_dir: Folder that holds the repositories; `./repos` by default.
        dataset: Folder of the dataset; by default the flashinfer-trace repository in `target_dir`.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        package: Packages whose source is read beside SGLang's, for parts that models take:
            `NAME=SRC`, or `NAME` for the release that this SGLang requires. Those of transformers
            and timm that lie in `target_dir`, or beside SGLang's package, are read without that.
        progress: Called as `progress(step, done, total)` while the work goes on; a
            `fibcore.progress.Follower` is told besides what a step is at, and what came of it.
    """

    target_dir: str | Path
    dataset: str | Path | None
    registry: Registry | None
    disable_plugin: str | Sequence[str]
    package: str | Sequence[str]
    progress: Progress | None


class Where(Place, total=False):
    """The keywords that every function of the API takes; a function ignores what it has no use for.

    Attributes:
        sglang: Where SGLang's source is: URL, path, `pypi:NAME==VERSION`, `installed`, `auto`; by
            default the repository in `target_dir`, else the installed package.
    """

    sglang: str | Path | None


@attrs.frozen(slots=False)  # cached properties need a __dict__
class Workspace:
    """The place of one call. Each property is worked out when it is first read.

    Attributes:
        target_dir: Folder that holds the repositories.
        dataset: Folder of the dataset as it was named; None for the one in `target_dir`.
        sglang: What was asked for as SGLang's source; None for the one at hand.
        package: Packages whose source is read beside it, as they were named.
        disable_plugin: Plugins that are left out, by name.
        progress: Called while the work goes on.
        given_registry: The plugins as the caller gave them; None for the installed ones.
    """

    target_dir: Path
    dataset: Path | None = None
    sglang: str | None = None
    package: tuple[str, ...] = ()
    disable_plugin: tuple[str, ...] = ()
    progress: Progress | None = None
    given_registry: Registry | None = None

    @classmethod
    def of(cls, **where: Unpack[Where]) -> Workspace:
        """The place that the keywords of a function of the API name.

        Raises:
            UsageError: a keyword is none of `Where`; the nearest is named.
        """
        for name in where:
            if name not in Where.__annotations__:
                raise unknown_keyword("Workspace.of", name, Where.__annotations__)
        dataset, sglang = where.get("dataset"), where.get("sglang")
        for name, path in (("dataset", dataset), ("target_dir", where.get("target_dir"))):
            if path == "":
                raise UsageError(
                    "an empty text names no folder", where=name, expected="a path", found="''"
                )
        return cls(
            target_dir=Path(where.get("target_dir") or "./repos"),
            dataset=None if dataset is None else Path(dataset),
            sglang=None if sglang is None else str(sglang),
            package=several(where.get("package", ())),
            disable_plugin=several(where.get("disable_plugin", ())),
            progress=where.get("progress"),
            given_registry=where.get("registry"),
        )

    @functools.cached_property
    def dataset_folder(self) -> Path:
        """The dataset's folder: the one named, else the flashinfer-trace repository.

        Raises:
            SourceError: repos_config.json is broken, or names a folder that is not there.
        """
        if self.dataset is not None:
            return self.dataset
        known = repository_path(self.target_dir, "flashinfer_trace")
        return self.target_dir / DATASET_FOLDER if known is None else known

    @functools.cached_property
    def registry(self) -> Registry:
        """The plugins.

        Raises:
            UsageError: `disable_plugin` names a plugin that does not exist.
            PluginError: two plugins claim one op type.
        """
        if self.given_registry is not None:
            return self.given_registry
        return load_plugins(disable=self.disable_plugin)

    def skipped_plugins(self) -> tuple[str, ...]:
        """The plugins that are broken and therefore not used, and why, one line each."""
        return tuple(f"{p.label}: {p.cause}: {p.reason}" for p in self.registry.skipped())

    def source(self, sglang: str | None = None) -> SourceTree:
        """SGLang's source, fetched where it has to be.

        Args:
            sglang: Another spec than the workspace's.

        Raises:
            SourceError: there is none, or it is not what it should be.
            UsageError: a spec that is refused.
        """
        spec = self.sglang if sglang is None else sglang
        tree = find_source(spec, self.target_dir, progress=self.progress)
        packages = find_packages(self.package, tree, self.target_dir, self.progress)
        return attrs.evolve(tree, packages=packages)


def with_dataset(where: Where, folder: str | Path | None) -> Where:
    """The keywords with the dataset that a call names by its first argument.

    Raises:
        UsageError: `dataset` names one too.
    """
    if folder is None:
        return where
    if where.get("dataset") is not None:
        raise UsageError("the dataset is named twice", where="dataset", found=str(folder))
    return {**where, "dataset": folder}


@api(Where)
def plugins(**where: Unpack[Where]) -> PluginsReport:
    """List the installed plugins and their op types.

    Args:
        **where: Which plugins; see `Where`.

    Raises:
        UsageError: `disable_plugin` names a plugin that does not exist.
    """
    registry = Workspace.of(**where).registry
    return PluginsReport(registry.plugins, tuple(registry.op_types().values()))


@api(Where)
def clone_repos(
    folder: str | Path | None = None,
    /,
    *,
    flashinfer: str | None = None,
    flashinfer_trace: str | None = None,
    update: bool = False,
    **where: Unpack[Where],
) -> ReposConfig:
    """Put sglang, flashinfer and the flashinfer-trace dataset into a folder.

    Git clones are shallow. "auto", the default, clones from the usual place; where that cannot be
    reached it takes a release from PyPI, and for the dataset an empty folder, and says so. What is
    there already stays, whoever put it there; `update` brings clones to what their remote has now.

    Args:
        folder: The folder of the repositories, created where it is missing; the same as
            `target_dir`.
        flashinfer: A git URL with optional `@ref`, a path (gives a link), `pypi:NAME==VERSION`,
            "installed" (gives a link), or "auto". `sglang` likewise.
        flashinfer_trace: A git URL, a path or "auto".
        update: Fetch what is newer.
        **where: The folder and SGLang's source; see `Where`.

    Returns:
        What is in the folder now; `repos_config.json` there says the same.

    Raises:
        SourceError: a repository cannot be had; the others are set up all the same.
        UsageError: a source that is refused; nothing is done then.
    """
    from fibcore.sources import clone  # git and the network, for this function alone

    workspace = Workspace.of(**where)
    if folder is not None and "target_dir" in where:
        raise UsageError("the folder is named twice", where="target_dir", found=str(folder))
    return clone.clone_repos(
        folder or where.get("target_dir", "./repos"),
        sglang=workspace.sglang or "auto",
        flashinfer=flashinfer or "auto",
        flashinfer_trace=flashinfer_trace or "auto",
        update=update,
        progress=workspace.progress,
    )
