"""Configs from the Hub, against a local stand-in for its HTTP API.

huggingface_hub reads its settings when it is imported, so each case runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.hub import check_hub_id, slug_of
from fibcore.errors import UsageError

COMMIT = "1" * 40
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
QUANT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}

FILES: dict[str, object] = {
    "o/plain": {"config.json": LLAMA},
    "o/quantised": {"config.json": LLAMA, "hf_quant_config.json": QUANT},
    "o/without": {"readme.md": {}},
    "o/broken": {"config.json": {**LLAMA, "hidden_size": -1}},
    "meta-llama/Llama-3.1-8B": "GatedRepo",
}

SCRIPT = """
import json, sys
from fibcore.errors import FibcoreError
from fibcore.configs.catalogue import resolve_model
from fibcore.configs.hub import load_hub_config
call, *arguments = json.loads(sys.argv[1])
try:
    if call == "load":
        config = load_hub_config(*arguments)
        out = {"slug": config.slug, "hub_id": config.hub_id, "notes": config.notes}
    else:
        model = resolve_model(arguments[0], hf_repo_id=arguments[1])
        config = model.config
        out = {"slug": model.slug, "notes": model.notes, "tp": model.tp}
    out |= {"origin": config.origin, "data": config.data}
except FibcoreError as error:
    out = error.to_dict()
print(json.dumps(out))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does for the files of a repository."""

    asked: list[str]

    def do_HEAD(self) -> None:
        """Metadata of a file."""
        self.answer(body=False)

    def do_GET(self) -> None:
        """A file."""
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(self.path)
        parts = self.path.strip("/").split("/")
        if len(parts) < 5:
            return self.send({}, b"")
        repository, revision, name = "/".join(parts[:2]), parts[3], parts[4]
        files = FILES.get(repository)
        if files is None:
            return self.send({"X-Error-Code": "RepoNotFound"}, b"", 401)
        if isinstance(files, str):
            return self.send({"X-Error-Code": files}, b"", 403)
        if revision not in ("main", COMMIT):
            return self.send({"X-Error-Code": "RevisionNotFound"}, b"", 404)
        assert isinstance(files, dict)
        headers = {"X-Repo-Commit": COMMIT}
        if name not in files:
            return self.send({**headers, "X-Error-Code": "EntryNotFound"}, b"", 404)
        content = json.dumps(files[name]).encode()
        headers["ETag"] = f'"{hash(content):x}"'
        return self.send(headers, content, body=body)

    def send(
        self, headers: dict[str, str], content: bytes, status: int = 200, *, body: bool = True
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def ask(home: Path, endpoint: str, *call: str | None, **environment: str) -> dict[str, Any]:
    """Run one call in a fresh process and return its result or error."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and k[:3] != "HF_"}
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(call)],
        env={
            **kept,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


NOWHERE = "http://127.0.0.1:1"


def test_a_config_its_cache_and_offline(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    first = ask(tmp_path, url(hub), "load", "o/plain")
    assert first == {
        "slug": "plain",
        "hub_id": "o/plain",
        "notes": [],
        "origin": f"hub:o/plain@{COMMIT}",
        "data": LLAMA,
    }
    # The cache serves where the Hub cannot be reached, and quickly, and in offline mode. It knows
    # from before that there is no hf_quant_config.json.
    start = time.monotonic()
    assert ask(tmp_path, NOWHERE, "load", "o/plain") == first
    assert time.monotonic() - start < 20
    Hub.asked.clear()
    assert ask(tmp_path, url(hub), "load", "o/plain", HF_HUB_OFFLINE="1") == first
    assert Hub.asked == []
    missing = ask(tmp_path, url(hub), "load", "o/other", HF_HUB_OFFLINE="1")
    assert missing["message"].startswith("the Hub cannot be reached")
    assert "HF_HUB_OFFLINE" in missing["found"]


def test_quantisation_beside_the_config(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    found = ask(tmp_path, url(hub), "load", "o/quantised", COMMIT)["data"]["quantization_config"]
    assert found == {
        "quant_method": "modelopt",
        "quant_algo": "FP8",
        "producer": {"name": "modelopt"},
    }


def test_a_cache_that_does_not_know_of_quantisation(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    ask(tmp_path, url(hub), "load", "o/plain")
    for marker in tmp_path.rglob(".no_exist"):
        for file in [p for p in marker.rglob("*") if p.is_file()]:
            file.unlink()
    found = ask(tmp_path, NOWHERE, "load", "o/plain")
    assert found["notes"][0].startswith("taken as not quantised")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("o/none",), "no such model, or it is private"),
        (("o/without",), "no config.json"),
        (("o/plain", "v9"), "no such revision"),
        (("meta-llama/Llama-3.1-8B",), "accepted its terms"),
        (("o/broken",), "not a size that can be"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    hub: ThreadingHTTPServer, tmp_path: Path, call: tuple[str, ...], message: str
) -> None:
    error = ask(tmp_path, url(hub), "load", *call)
    assert message in error["message"]
    assert call[0].replace("/", "--") in error["where"].replace("/", "--")
    assert error["error"] == ("ConfigError" if call[0] == "o/broken" else "HubError")


def test_the_catalogue_stands_in_and_says_so(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    start = time.monotonic()
    for endpoint, why in ((url(hub), "accepted its terms"), (NOWHERE, "cannot be reached")):
        found = ask(tmp_path, endpoint, "resolve", "meta-llama/Llama-3.1-8B", None)
        assert found["origin"] == "catalogue:llama-3.1-8b"
        assert why in found["notes"][0]
        assert found["slug"] == "llama-3.1-8b"
    # huggingface_hub by itself would try for longer than this.
    assert time.monotonic() - start < 20
    unknown = ask(tmp_path, NOWHERE, "resolve", "o/plain", None)
    assert unknown["error"] == "HubError"


@pytest.mark.parametrize(
    ("name", "slug"), [("my-model", "my-model"), ("llama", "plain"), ("o/plain", "plain")]
)
def test_the_hub_comes_before_the_catalogue(
    hub: ThreadingHTTPServer, tmp_path: Path, name: str, slug: str
) -> None:
    found = ask(tmp_path, url(hub), "resolve", name, "o/plain")
    assert (found["slug"], found["origin"]) == (slug, f"hub:o/plain@{COMMIT}")
    assert found["data"] == LLAMA


@pytest.mark.parametrize(
    "hub_id",
    [
        "plain",
        "a/b/c",
        "../x",
        "a/..",
        "a/b\n",
        "a b/c",
        "/a",
        "a/",
        "-a/b",
        "a--b/c",
        "a/" + "b" * 99,
    ],
)
def test_what_is_no_hub_id(hub_id: str) -> None:
    with pytest.raises(UsageError, match="not a Hub id"):
        check_hub_id(hub_id)


def test_slugs() -> None:
    assert check_hub_id("meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    assert slug_of("meta-llama/Llama-3.1-8B") == "llama-3.1-8b"
