"""Connections to Dask clusters whose workers have this version of fibcore."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fibcore import __version__
from fibcore.errors import FibcoreError, UsageError
from fibcore.extras import need
from fibcore.model.json import decode
from fibcore.regular_files import read_bytes

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 30.0
"""Seconds to wait for the scheduler, and then for its first worker."""


class ClusterError(FibcoreError):
    """A Dask cluster cannot be used, or did not do its work."""


@contextmanager
def connect(address: str, *, timeout_s: float = CONNECT_S) -> Iterator[Client]:
    """A client of the scheduler at `address`, which has a worker with this version of fibcore.

    Args:
        address: `tcp://HOST:PORT`, `tls://HOST:PORT` or `HOST:PORT` of the scheduler, or the path
            of the file that `dask scheduler --scheduler-file` wrote.
        timeout_s: Seconds to wait for the scheduler, and then for its first worker.

    Raises:
        UsageError: that is no address.
        MissingPackageError: distributed is not installed.
        ClusterError: the scheduler cannot be reached, it has no worker, or a worker has no
            fibcore or another version of it.
    """
    need("dask", "tasks on a Dask cluster")
    target = _target(address)
    from distributed import Client  # takes half a second

    try:
        client = Client(target, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError, ImportError, timeout_error()) as error:
        raise ClusterError(
            "the Dask scheduler cannot be reached",
            where=address,
            expected=f"a scheduler that answers within {timeout_s:g} s",
            found=described(error),
            hint="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from None
    try:
        _check_workers(client, address, timeout_s)
        yield client
    finally:
        with suppress(OSError, timeout_error()):  # the scheduler is gone
            client.close(timeout=5)


def timeout_error() -> type[Exception]:
    """What a client raises when an answer does not come; no OSError before Python 3.11."""
    import asyncio

    return asyncio.TimeoutError


def scheduler_address(client: Client) -> str:
    """The address of the scheduler, or what became of the connection."""
    return str(client.scheduler.address if client.scheduler else client.status)


def _target(address: str) -> str:
    """What `Client` is to connect to.

    Raises:
        UsageError: that is no address.
    """
    text = address.strip()
    if os.path.isfile(text):  # noqa: PTH113  (a str, which may be no path at all)
        text = _in_scheduler_file(Path(text))
    target = text if "://" in text else f"tcp://{text}"
    try:
        parts = urlsplit(target)
        usable = bool(parts.scheme and parts.hostname and parts.port)
    except ValueError:  # a port that is none
        usable = False
    if not usable:
        raise UsageError(
            "that is no address of a Dask scheduler",
            where=f"--dask {address}",
            expected="tcp://HOST:PORT, tls://HOST:PORT, HOST:PORT, or a scheduler file",
            hint="dask scheduler prints its address when it starts",
        )
    return target


def _in_scheduler_file(path: Path) -> str:
    """The address that a scheduler wrote into its file; "" where there is none."""
    try:
        return str(decode(read_bytes(path))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check_workers(client: Client, address: str, timeout_s: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except (OSError, timeout_error()):
        raise ClusterError(
            "the Dask scheduler has no workers",
            where=address,
            expected=f"a worker within {timeout_s:g} s",
            hint=f"dask worker {address}",
        ) from None
    versions: dict[str, object] = client.run(worker_version, on_error="return")
    wrong = {
        worker: found if isinstance(found, str) else described(found)
        for worker, found in versions.items()
        if found != __version__
    }
    if wrong:
        raise ClusterError(
            "workers of the Dask cluster do not have this version of fibcore",
            where=address,
            expected=f"fibcore {__version__} on every worker",
            found="; ".join(f"{worker}: {found}" for worker, found in sorted(wrong.items())),
            hint="install the same fibcore, with the same plugins, where the workers run",
        )


def worker_version() -> str:
    """The version of fibcore where this runs."""
    return __version__


def described(error: object) -> str:
    """An exception in a line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
