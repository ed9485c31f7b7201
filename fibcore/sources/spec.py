"""Values of `--sglang`, `--flashinfer` and `--flashinfer-trace`: what is accepted and refused.

Everything is checked here, before git or pip see any of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from fibcore.errors import UsageError
from fibcore.keywords import user_path

FORMS = (
    "a git URL (https, ssh, file) with an optional @REF, a local path, pypi:NAME==VERSION, "
    "installed, or auto"
)

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REMOTE_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_SCP = re.compile(r"[A-Za-z0-9_][\w.-]*@([A-Za-z0-9][\w.-]*):(?!//)(.+)")
_SECRET = re.compile(r"(?<=https://)[^/@\s]*@|(?<=://)[^/@:\s]*:[^/@\s]*@")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@attrs.frozen
class GitSource:
    """A git repository.

    Attributes:
        url: The URL as git gets it.
        ref: A branch, a tag or a full commit; None for the remote's default branch.
    """

    url: str
    ref: str | None = None

    @property
    def origin(self) -> str:
        """URL and ref for reports and files, without a password or token."""
        return redacted(self.url) + (f"@{self.ref}" if self.ref else "")

    @property
    def is_commit(self) -> bool:
        """Whether the ref is a full commit, which cannot move."""
        return self.ref is not None and bool(_COMMIT.fullmatch(self.ref))


@attrs.frozen
class PathSource:
    """A folder of this machine: a repository, what holds the package, or the package."""

    path: Path

    @property
    def origin(self) -> str:
        """The path, absolute."""
        return str(self.path)


@attrs.frozen
class PypiSource:
    """A release on PyPI (or the index that pip is configured for)."""

    name: str
    version: str

    @property
    def requirement(self) -> str:
        """`NAME==VERSION`."""
        return f"{self.name}=={self.version}"

    @property
    def origin(self) -> str:
        """`pypi:NAME==VERSION`."""
        return f"pypi:{self.requirement}"


@attrs.frozen
class InstalledSource:
    """The package that is installed in the running environment."""

    origin: str = "installed"


@attrs.frozen
class AutoSource:
    """The first source that is available."""

    origin: str = "auto"


Source = GitSource | PathSource | PypiSource | InstalledSource | AutoSource


def redacted(text: str) -> str:
    """`text` with passwords and tokens in URLs masked."""
    return _SECRET.sub("***@", text)


def parse_source(spec: str, option: str) -> Source:
    """The source that `spec` names.

    Args:
        spec: One of the forms in `FORMS`.
        option: The command option it was given for; errors name it.

    Raises:
        UsageError: any other form, among them URLs that would have git run a command.
    """
    if not spec or spec != spec.strip() or any(ord(c) < 32 or ord(c) == 127 for c in spec):
        raise _refused(spec, option, "empty, or with control characters or blanks around it")
    if spec.startswith("-"):
        raise _refused(spec, option, "it reads as a command option")
    if spec == "auto":
        return AutoSource()
    if spec == "installed":
        return InstalledSource()
    if spec.startswith("pypi:"):
        return _pypi(spec, option)
    if _REMOTE_HELPER.match(spec):
        raise _refused(spec, option, "git would run a remote helper for it")
    scheme = _SCHEME.match(spec)
    if scheme:
        return _url(spec, scheme.group(1).lower(), scheme.end(), option)
    scp = _SCP.fullmatch(spec)
    if scp and not Path(spec).exists():
        head = spec[: scp.start(2)]
        path, ref = _split_ref(scp.group(2), spec, option)
        _check_url_path(path, spec, option)
        return GitSource(head + path, ref)
    local = user_path(spec, option).absolute()
    return GitSource(local.as_uri()) if is_bare(local) else PathSource(local)


def _pypi(spec: str, option: str) -> PypiSource:
    name, equals, version = spec[len("pypi:") :].partition("==")
    if not equals or not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        raise UsageError(
            "not a release on PyPI",
            where=option,
            expected="pypi:NAME==VERSION, such as pypi:sglang==0.5.9",
            found=spec,
        )
    return PypiSource(name, version)


def _url(spec: str, scheme: str, start: int, option: str) -> GitSource | PathSource:
    if scheme not in ("https", "ssh", "file"):
        raise _refused(spec, option, f"the protocol {scheme} is not allowed")
    authority, slash, path = spec[start:].partition("/")
    if scheme == "file":
        if authority not in ("", "localhost"):
            raise _refused(spec, option, "a file URL names no host")
        return _file_url(path, spec, option)
    host = authority.rpartition("@")[2]
    if not re.match(r"[A-Za-z0-9\[]", host) or not slash or not path:
        raise _refused(spec, option, "no host, or no path after it")
    path, ref = _split_ref(path, spec, option)
    _check_url_path(path, spec, option)
    return GitSource(f"{scheme}://{authority}/{path}", ref)


def _file_url(path: str, spec: str, option: str) -> GitSource | PathSource:
    ref = None
    local = Path("/" + unquote(path))
    if not local.exists():
        # An @ may belong to the name of a folder: it starts a ref only where no such folder is.
        path, ref = _split_ref(path, spec, option)
        local = Path("/" + unquote(path))
    if ref is None and not _is_git(local):
        return PathSource(local)
    return GitSource(f"file:///{path}", ref)


def _is_git(folder: Path) -> bool:
    return (folder / ".git").exists() or is_bare(folder)


def is_bare(folder: Path) -> bool:
    """Whether a folder is a git repository without a working tree."""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


def _split_ref(path: str, spec: str, option: str) -> tuple[str, str | None]:
    path, at, ref = path.rpartition("@") if "@" in path else (path, "", "")
    if not at:
        return path, None
    if not _REF.fullmatch(ref) or ".." in ref or "//" in ref or ref.endswith((".", "/", ".lock")):
        raise UsageError(
            "not the name of a branch, tag or commit",
            where=option,
            expected="URL@REF",
            found=redacted(spec),
        )
    return path, ref


def _check_url_path(path: str, spec: str, option: str) -> None:
    if re.search(r"\s", path):
        raise _refused(spec, option, "a blank in a URL")
    if any(segment.startswith("-") for segment in re.split(r"[/?&#]", unquote(path))):
        raise _refused(spec, option, "a part of it reads as a command option")


def _refused(spec: str, option: str, why: str) -> UsageError:
    return UsageError(f"refused: {why}", where=option, expected=FORMS, found=repr(redacted(spec)))


def url_host(url: str) -> str:
    """The host of a git URL; empty for files."""
    if "://" in url:
        parts = urlsplit(url)
        return "" if parts.scheme == "file" else parts.netloc.rpartition("@")[2]
    return url.partition(":")[0].rpartition("@")[2]
