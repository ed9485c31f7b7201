"""`fibcore clone-repos`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.sources.repos_config import ReposConfig


@cli.command()
@options.repositories
@click.option("--update", is_flag=True, help="Bring clones to what their remote has now.")
@options.common
def clone_repos(out: Output, **given: Any) -> int:
    """Set up the repositories, and repos_config.json.

    SRC is a git URL with optional @REF, a local path, pypi:NAME==VERSION, installed, or auto: git,
    and where its host cannot be reached PyPI, or an empty dataset.
    """
    from fibcore.workspace import clone_repos as api

    report = api(progress=out.progress, **given)
    out.close()
    out.document(report.to_dict)
    print_repositories(report, out)
    return 0


def print_repositories(report: ReposConfig, out: Output) -> None:
    """Print what is in the target folder."""
    for key, repository in report.repositories.items():
        version = repository.version or (repository.commit or "")[:12]
        words = " ".join(w for w in (repository.status, version) if w)
        out.line(f"{key}: {words} ({repository.path})")
        if repository.message:
            out.line(f"  {repository.message}")
