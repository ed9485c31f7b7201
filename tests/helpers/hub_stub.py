"""A stand-in for the Hub's HTTP API on this machine: one dataset repository with its commits.

It answers what huggingface_hub asks when it lists a repository and commits to it: revision, tree
(in pages), preupload, LFS batch with its uploads, and commit. What it checks is what the Hub does:
tokens, the parent commit, and that large files were uploaded before they are committed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

READ, WRITE = "hf_read", "hf_write"
PAGE = 3


def blob_id(data: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer(data: bytes) -> bytes:
    """The git-LFS pointer to a file."""
    digest = hashlib.sha256(data).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"
    return text.encode()


@attrs.define
class Dataset:
    """A repository.

    Attributes:
        repo_id: Its id.
        branches: Branch (or `refs/pr/N`) to its commits, the newest last.
        trees: Commit to its files.
        messages: Commit to title and description.
        large: Paths that end like this are kept by git-LFS.
        stored: LFS objects by SHA-256.
        ignored: Paths that its .gitignore names.
        fail: Endpoint ("commit", "preupload") to the status and message with which it refuses.
        asked: Requests: method and path.
        received: Paths of the files whose content came, by regular commit or LFS upload.
    """

    repo_id: str
    branches: dict[str, list[str]] = attrs.field(factory=dict)
    trees: dict[str, dict[str, bytes]] = attrs.field(factory=dict)
    messages: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    large: tuple[str, ...] = (".safetensors",)
    stored: dict[str, bytes] = attrs.field(factory=dict)
    ignored: tuple[str, ...] = ()
    fail: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    received: list[str] = attrs.field(factory=list)
    url: str = ""

    def commit(self, files: dict[str, bytes], branch: str = "main", title: str = "") -> str:
        """Add a commit that holds just these files."""
        number = len(self.trees) + 1
        commit = hashlib.sha1(f"{number}".encode(), usedforsecurity=False).hexdigest()
        self.trees[commit] = dict(files)
        self.messages[commit] = (title, "")
        self.branches.setdefault(branch, []).append(commit)
        return commit

    def head(self, branch: str = "main") -> str:
        """The newest commit of a branch."""
        return self.branches[branch][-1]

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """The files of a branch."""
        return self.trees[self.head(branch)]

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch or commit stands for."""
        if revision in self.branches:
            return self.head(revision)
        return revision if revision in self.trees else None

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        """A file as the tree endpoint lists it."""
        facts: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
        if not path.endswith(self.large):
            return {**facts, "oid": blob_id(data)}
        link = pointer(data)
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": len(link)}
        return {**facts, "oid": blob_id(link), "lfs": lfs}


class _Handler(BaseHTTPRequestHandler):
    hub: Dataset

    def do_HEAD(self) -> None:
        """Whether somebody is there."""
        self.answer(200, b"")

    def do_GET(self) -> None:
        """Revisions and trees."""
        self.hub.asked.append(f"GET {self.path}")
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if not self.allowed(parts, write=False):
            return
        what = parts[4] if len(parts) > 4 else "revision"
        revision = unquote(parts[5]) if len(parts) > 5 else "main"
        commit = self.hub.resolve(revision)
        if commit is None:
            self.refuse(404, "Invalid rev id", "RevisionNotFound")
        elif what == "tree":
            self.tree(commit, parse_qs(url.query))
        else:
            self.send({"id": self.hub.repo_id, "sha": commit, "siblings": [], "tags": []})

    def tree(self, commit: str, query: dict[str, list[str]]) -> None:
        """One page of the files and folders of a commit."""
        files = self.hub.trees[commit]
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries = [{"type": "directory", "path": f, "oid": "0" * 40, "size": 0} for f in folders]
        entries += [self.hub.entry(path, data) for path, data in sorted(files.items())]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            following = f"{self.hub.url}{urlsplit(self.path).path}"
            following += f"?recursive=True&expand=False&cursor={start + PAGE}"
            headers["Link"] = f'<{following}>; rel="next"'
        self.send(entries[start : start + PAGE], headers)

    def do_POST(self) -> None:
        """Preupload, LFS batch and commit."""
        self.hub.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if url.path.endswith("/info/lfs/objects/batch"):
            self.batch(json.loads(body))
            return
        if not self.allowed(parts, write=True):
            return
        what, revision = parts[4], unquote(parts[5])
        if what in self.hub.fail:
            self.refuse(*self.hub.fail[what])
        elif what == "preupload":
            files = json.loads(body)["files"]
            self.send({"files": [self.mode(f) for f in files]})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            self.commit(revision, lines, pull_request="create_pr=1" in url.query)

    def mode(self, file: dict[str, Any]) -> dict[str, Any]:
        """How a file is to be uploaded."""
        path = file["path"]
        return {
            "path": path,
            "uploadMode": "lfs" if path.endswith(self.hub.large) else "regular",
            "shouldIgnore": path in self.hub.ignored,
        }

    def batch(self, body: dict[str, Any]) -> None:
        """Where LFS objects go; nowhere, if they are there."""
        objects = []
        for item in body["objects"]:
            known: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.stored:
                known["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append(known)
        self.send({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        """An LFS object."""
        digest = self.path.rpartition("/")[2]
        self.hub.asked.append(f"PUT {self.path}")
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "lfs" in self.hub.fail:
            self.refuse(*self.hub.fail["lfs"])
            return
        if hashlib.sha256(data).hexdigest() != digest:
            self.refuse(400, "wrong checksum")
            return
        self.hub.stored[digest] = data
        self.hub.received.append(digest)
        self.answer(200, b"")

    def commit(self, revision: str, lines: list[dict[str, Any]], *, pull_request: bool) -> None:
        """A commit, all of it or nothing."""
        header = lines[0]["value"]
        head = self.hub.resolve(revision)
        parent = header.get("parentCommit", head)
        if head is None:
            self.refuse(404, "Invalid rev id", "RevisionNotFound")
            return
        if not pull_request and parent != head:
            self.refuse(412, "A commit has happened since. Please refresh and try again.")
            return
        files = dict(self.hub.trees[parent])
        for line in lines[1:]:
            value = line["value"]
            path = value["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
                self.hub.received.append(path)
            elif line["key"] == "lfsFile":
                files[path] = self.hub.stored[value["oid"]]
            elif files.pop(path, None) is None:
                self.refuse(404, "A file with this name doesn't exist", "EntryNotFound")
                return
        number = 1 + sum(branch.startswith("refs/pr/") for branch in self.hub.branches)
        branch = f"refs/pr/{number}" if pull_request else revision
        oid = self.hub.commit(files, branch)
        self.hub.messages[oid] = (header["summary"], header["description"])
        page = f"{self.hub.url}/datasets/{self.hub.repo_id}"
        self.send(
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{page}/commit/{oid}",
                "hookOutput": "",
                "pullRequestUrl": f"{page}/discussions/{number}" if pull_request else None,
            }
        )

    def allowed(self, parts: list[str], *, write: bool) -> bool:
        """Whether the repository is there and the token may do it; answers where not."""
        if parts[:2] != ["api", "datasets"] or "/".join(parts[2:4]) != self.hub.repo_id:
            self.refuse(404, "Repository not found", "RepoNotFound")
            return False
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if write and token == READ:
            self.refuse(403, "You don't have the required permissions to perform this action.")
            return False
        if write and token != WRITE:
            self.refuse(401, "Invalid username or password.")
            return False
        return True

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        """An error as the Hub sends it."""
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.answer(status, json.dumps({"error": message}).encode(), headers)

    def send(self, data: Any, headers: dict[str, str] | None = None) -> None:
        """JSON."""
        self.answer(200, json.dumps(data).encode(), headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Status, headers and body."""
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(hub: Dataset) -> Iterator[Dataset]:
    """Serve a repository on 127.0.0.1; its `url` is the Hub's address then."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
