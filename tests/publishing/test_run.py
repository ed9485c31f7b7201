"""Publishing a dataset, against a local stand-in for the Hub's HTTP API."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hub_stub as stub
import pytest
from click.testing import CliRunner, Result
from packaging.version import Version

import fibcore
from fibcore.cli import cli
from fibcore.errors import DatasetError, FibcoreError, PublishError, UsageError
from fibcore.ops.registry import Registry
from fibcore.publishing import PublishReport
from fibcore.publishing.base import dataset_of_url
from fibcore.publishing.local import REPORTS, is_published, patterns

# huggingface_hub sends LFS objects in a way that its HTTP library would have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

REPO_ID = "o/trace"
NORM = "definitions/rmsnorm/rmsnorm_h64.json"
GEMM = "definitions/gemm/gemm_n_128_k_64.json"
WORKLOAD = {
    "definition": "gemm_n_128_k_64",
    "workload": {
        "uuid": "1",
        "axes": {"M": 4},
        "inputs": {"A": {"type": "random"}, "B": {"type": "random"}},
    },
}
SOLUTION = {
    "name": "fast",
    "definition": "gemm_n_128_k_64",
    "author": "somebody",
    "spec": {
        "language": "python",
        "target_hardware": ["cpu"],
        "entry_point": "main.py::run",
        "destination_passing_style": False,
    },
    "sources": [{"path": "main.py", "content": "def run(A, B):\n    return A @ B.T\n"}],
}
Publish = Callable[..., PublishReport]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, op_plugins: Registry) -> Path:
    """A dataset that was extracted."""
    root = tmp_path_factory.mktemp("made") / "trace"
    data = Path(__file__).parents[1] / "data"
    fibcore.extract(
        "tiny",
        config=data / "tiny_config.json",
        sglang=str(data / "sglang"),
        dataset=root,
        registry=op_plugins,
    )
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The dataset, with other files that are published and some that are not."""
    folder = tmp_path / "trace"
    shutil.copytree(made, folder)
    for name, data in {
        "tests/references/conftest.py": b"",
        "tests/references/__pycache__/conftest.pyc": b"x",
        "workloads/gemm/gemm_n_128_k_64.jsonl": json.dumps(WORKLOAD).encode() + b"\n",
        "blob/workloads/gemm/inputs.safetensors": b"\0" * 3000,
        "solutions/somebody/gemm/gemm_n_128_k_64/fast.json": json.dumps(SOLUTION).encode(),
        "solutions/notes.txt": b"mine",
        "secret.env": b"TOKEN=1",
        ".fibcore.lock": b"",
        "blob/.DS_Store": b"",
        "reports/verification/rmsnorm_h64.json": b"{}\n",
        "reports/other.html": b"",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty dataset on the Hub; what huggingface_hub has of the user is not looked at."""
    from huggingface_hub import constants

    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setattr(constants, name, True, raising=False)  # old ones have no Xet
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    dataset = stub.Dataset(REPO_ID)
    dataset.commit({"README.md": b"card", ".gitattributes": b""})
    with stub.serving(dataset):
        if Version(version("huggingface_hub")) < Version("1.6"):
            # It reads the URL of a commit by its own endpoint, whatever the call named.
            monkeypatch.setattr(constants, "ENDPOINT", dataset.url)
        yield dataset


@pytest.fixture
def publish(hub: Any, root: Path, op_plugins: Registry) -> Publish:
    def call(**options: Any) -> PublishReport:
        given = {"repo_id": REPO_ID, "token": stub.WRITE, "yes": True, **options}
        return fibcore.publish(root, endpoint=hub.url, registry=op_plugins, **given)

    return call


def names(report: PublishReport, kind: str) -> set[str]:
    return {change.path for change in report.changes if change.kind == kind}


def clone(root: Path, hub: Any, branch: str = "main") -> None:
    """Make the folder a clone of the dataset as it is on the Hub, with LFS pointers as git has."""
    url = f"https://huggingface.co/datasets/{REPO_ID}"
    for path, data in hub.files(branch).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(stub.pointer(data) if path.endswith(hub.large) else data)
    commands = [
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", url],
        ["add", "-f", *hub.files(branch)],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"],
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
    ]
    for command in commands:
        subprocess.run(["git", *command], cwd=root, check=True)  # noqa: S603, S607


def test_a_pull_request_with_all_that_belongs_to_the_dataset(publish: Publish, hub: Any) -> None:
    report = publish()
    assert report.exit_code == 0
    assert report.url == f"{hub.url}/datasets/{REPO_ID}/discussions/1"
    assert report.commit == hub.head("refs/pr/1")
    assert set(hub.files("main")) == {"README.md", ".gitattributes"}
    files = hub.files("refs/pr/1")
    assert NORM in files
    assert {
        *("README.md", "tests/references/conftest.py", "reports/provenance/rmsnorm_h64.json"),
        *("workloads/gemm/gemm_n_128_k_64.jsonl", "blob/workloads/gemm/inputs.safetensors"),
        *("solutions/somebody/gemm/gemm_n_128_k_64/fast.json",),
        "reports/verification/rmsnorm_h64.json",
    } <= set(files)
    left_out = {"solutions/notes.txt", "reports/other.html"}
    assert set(report.left_out) == left_out
    assert not (left_out | {"secret.env", ".fibcore.lock", "blob/.DS_Store"}) & set(files)
    assert not any("__pycache__" in name for name in files)
    assert len(files["blob/workloads/gemm/inputs.safetensors"]) == 3000
    assert any(request.startswith("PUT /lfs/") for request in hub.asked)


def test_the_message_lists_definitions_by_op_type_with_models(publish: Publish, hub: Any) -> None:
    report = publish()
    title, description = hub.messages[hub.head("refs/pr/1")]
    count = sum(name.startswith("definitions/") for name in names(report, "added"))
    assert count >= 10
    assert title == report.title == f"Add {count} definitions (tiny)"
    assert "**gemm**\n\n- `gemm_n_128_k_64` (added): tiny\n" in description
    assert description.index("**gemm**") < description.index("**rmsnorm**")
    assert f"- reports/provenance: {count} added" in description
    assert publish(message="  Mine ").title == "Mine"


def test_nothing_is_sent_without_yes(publish: Publish, hub: Any) -> None:
    report = publish(yes=False, token=None)
    assert report.dry_run
    assert report.url is None
    assert NORM in names(report, "added")
    assert report.counts["bytes"] > 3000
    assert not any(request.startswith(("POST", "PUT")) for request in hub.asked)


def test_only_what_differs_is_sent(publish: Publish, hub: Any, root: Path) -> None:
    publish(pull_request=False)
    assert NORM in hub.files()
    hub.asked.clear()
    hub.received.clear()
    again = publish(pull_request=False)
    assert (again.changes, again.url, again.title) == ((), None, "")
    assert again.unchanged > 20
    assert not any(request.startswith(("POST", "PUT")) for request in hub.asked)
    (root / "tests/references/test_gemm.py").write_text("def test_nothing(): ...\n")
    more = publish(pull_request=False)
    assert hub.received == ["tests/references/test_gemm.py"]
    assert more.title == "Add 1 file in tests"
    assert publish(yes=False).unchanged == again.unchanged + 1


def test_without_reports(publish: Publish, hub: Any) -> None:
    publish(reports=False, pull_request=False)
    assert not any(name.startswith("reports/") for name in hub.files())


def test_a_commit_that_others_make_meanwhile_is_not_overwritten(
    publish: Publish, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibcore.publishing.remote import Remote

    real = Remote.read

    def read(self: Remote, wanted: tuple[str, ...]) -> Any:
        state = real(self, wanted)
        hub.commit({**hub.files(), NORM: b"theirs"})
        return state

    monkeypatch.setattr(Remote, "read", read)
    with pytest.raises(PublishError, match="the Hub refused") as caught:
        publish(pull_request=False)
    assert "412" in str(caught.value)
    assert "run it again" in str(caught.value)
    assert hub.files()[NORM] == b"theirs"


def test_in_a_clone_the_newer_files_of_others_are_left_alone(
    publish: Publish, hub: Any, root: Path
) -> None:
    publish(pull_request=False)
    clone(root, hub)
    first = hub.files()
    theirs = {**first, NORM: b"theirs", "definitions/gemm/new.json": b"{}"}
    del theirs["tests/references/conftest.py"]
    hub.commit(theirs)
    (root / GEMM).write_bytes(first[GEMM].replace(b"status:unverified", b"status:verified"))
    report = publish(repo_id=None, pull_request=False)
    assert report.repo_id == REPO_ID
    assert report.base is not None
    assert names(report, "changed") == {GEMM}
    assert set(report.newer) == {NORM, "tests/references/conftest.py"}
    assert hub.files()[NORM] == b"theirs"
    assert b"status:verified" in hub.files()[GEMM]


def test_what_both_changed_is_refused(publish: Publish, hub: Any, root: Path) -> None:
    publish(pull_request=False)
    clone(root, hub)
    hub.commit({**hub.files(), NORM: hub.files()[NORM] + b"\n"})
    text = (root / NORM).read_text()
    (root / NORM).write_text(text.replace("status:unverified", "status:verified"))
    report = publish(repo_id=None)
    assert report.exit_code == 1
    assert report.url is None
    assert NORM in str(report.refusals[0])
    assert "git pull" in str(report.refusals[0])
    assert publish(repo_id=None, overwrite=True).url is not None


def test_other_versions_are_not_replaced_where_the_base_is_unknown(
    publish: Publish, hub: Any
) -> None:
    hub.commit({**hub.files(), NORM: b"{}", "definitions/x/y.json": b"{}"})
    report = publish()
    assert [r.found for r in report.refusals] == [NORM]
    assert "--overwrite" in str(report.refusals[0])
    done = publish(overwrite=True, pull_request=False)
    assert names(done, "changed") == {NORM}
    assert "definitions/x/y.json" in hub.files()


def test_what_was_removed_here_stays_unless_asked(publish: Publish, hub: Any, root: Path) -> None:
    publish(pull_request=False)
    clone(root, hub)
    hub.commit({**hub.files(), "definitions/gemm/new.json": b"{}"})
    (root / NORM).unlink()
    report = publish(repo_id=None)
    assert (report.changes, report.kept) == ((), (NORM,))
    report = publish(repo_id=None, delete=True, pull_request=False)
    assert names(report, "deleted") == {NORM}
    assert report.title == "Delete 1 definition"
    assert NORM not in hub.files()
    assert {"definitions/gemm/new.json", "README.md"} <= set(hub.files())


def test_deleting_without_a_base_is_refused(publish: Publish, hub: Any, root: Path) -> None:
    publish(pull_request=False)
    (root / NORM).unlink()
    report = publish(delete=True, pull_request=False)
    assert report.exit_code == 1
    assert NORM in hub.files()


def test_lfs_pointers_stand_for_what_the_hub_has(publish: Publish, hub: Any, root: Path) -> None:
    large = root / "blob/workloads/gemm/inputs.safetensors"
    content = large.read_bytes()
    large.write_bytes(stub.pointer(content))
    refused = publish()
    assert "git lfs pull" in str(refused.refusals[0])
    large.write_bytes(content)
    publish(pull_request=False)
    large.write_bytes(stub.pointer(content))
    assert publish().changes == ()
    clone(root, hub)
    assert publish(repo_id=None).changes == ()
    large.write_bytes(b"\1" * 3000)
    assert names(publish(repo_id=None, yes=False), "changed") == {
        "blob/workloads/gemm/inputs.safetensors"
    }


def test_what_git_ignores_is_not_published(publish: Publish, hub: Any, root: Path) -> None:
    clone(root, hub)
    (root / ".gitignore").write_text("solutions/somebody/\nnotes.txt\n")
    report = publish(repo_id=None, yes=False)
    assert not any(c.path.startswith("solutions/") for c in report.changes)
    assert report.left_out == ("reports/other.html",)


def test_what_the_hub_ignores_is_said(publish: Publish, hub: Any) -> None:
    hub.ignored = ("tests/references/conftest.py",)
    assert any("conftest.py" in note for note in publish().notes)


def test_a_broken_definition_is_refused(publish: Publish, hub: Any, root: Path) -> None:
    (root / GEMM).write_text("{")
    report = publish()
    assert report.exit_code == 1
    assert GEMM in str(report.refusals[0])
    assert "fibcore validate" in str(report.refusals[0])
    assert list(hub.branches) == ["main"]


def test_a_broken_file_that_the_hub_has_does_not_stop_others(
    publish: Publish, hub: Any, root: Path
) -> None:
    hub.commit({**hub.files(), NORM: b"{"})
    (root / NORM).write_text("{")
    report = publish()
    assert report.exit_code == 0
    assert any(NORM in note for note in report.notes)


def test_an_open_conflict_is_refused(publish: Publish, root: Path) -> None:
    data = json.loads((root / GEMM).read_text())
    data["name"] += "_v2"
    data["outputs"]["C"]["dtype"] = "float32"
    other = root / GEMM.replace(".json", "_v2.json")
    other.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    report = publish()
    assert [r.message for r in report.refusals] == ["the conflict about gemm_n_128_k_64 is open"]
    assert "conflicts.md" in str(report.refusals[0])


def test_a_link_that_leads_out_is_refused(publish: Publish, root: Path, tmp_path: Path) -> None:
    (tmp_path / "private.jsonl").write_text("secret\n")
    (root / "workloads/gemm/link.jsonl").symlink_to(tmp_path / "private.jsonl")
    report = publish()
    assert "leads out of the dataset" in str(report.refusals[0])


@pytest.mark.parametrize(
    ("options", "message", "todo"),
    [
        ({"token": "hf_read"}, "403", "--pr"),
        ({"token": "hf_wrong"}, "401", "hf auth login"),
        ({"repo_id": "o/none"}, "no such dataset", "--repo-id"),
        ({"revision": "gone", "pull_request": False}, "no such revision", "name a branch"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    publish: Publish, options: dict[str, Any], message: str, todo: str
) -> None:
    with pytest.raises(PublishError) as caught:
        publish(**options)
    assert message in str(caught.value)
    assert todo in str(caught.value)


@pytest.mark.parametrize(
    ("where", "status", "todo"),
    [
        ("commit", 400, "does not accept"),
        ("commit", 409, "run it again"),
        ("commit", 413, "in parts"),
        ("commit", 429, "wait"),
        ("commit", 500, "later"),
        ("lfs", 403, "a token that may write"),
    ],
)
def test_other_answers_are_explained_too(
    publish: Publish, hub: Any, where: str, status: int, todo: str
) -> None:
    hub.fail[where] = (status, "because")
    with pytest.raises(PublishError, match="the Hub refused") as caught:
        publish()
    assert f"{status}" in str(caught.value)
    assert todo in str(caught.value)
    assert list(hub.branches) == ["main"]


def test_no_network(publish: Publish, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    address = hub.url
    hub.url = "http://127.0.0.1:1"
    with pytest.raises(PublishError, match="cannot be reached"):
        publish()
    hub.url = address
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="cannot be reached") as caught:
        publish()
    assert "HF_HUB_OFFLINE" in str(caught.value)


def test_what_is_no_dataset(tmp_path: Path, op_plugins: Registry) -> None:
    for yes in (True, False):
        with pytest.raises(DatasetError):
            fibcore.publish(tmp_path / "nowhere", registry=op_plugins, yes=yes)
    (tmp_path / "definitions").mkdir()
    with pytest.raises(UsageError, match="not the id of a dataset"):
        fibcore.publish(tmp_path, repo_id="x", registry=op_plugins)


def test_an_open_pull_request_is_gone_on_with(publish: Publish, hub: Any, root: Path) -> None:
    publish()
    (root / "tests/references/test_gemm.py").write_text("")
    report = publish(revision="refs/pr/1", pull_request=False)
    assert names(report, "added") == {"tests/references/test_gemm.py"}
    assert len(hub.branches["refs/pr/1"]) == 2


@pytest.mark.parametrize(
    ("url", "repo_id"),
    [
        ("https://huggingface.co/datasets/flashinfer-ai/flashinfer-trace", True),
        ("https://user:pw@huggingface.co/datasets/flashinfer-ai/flashinfer-trace.git", True),
        ("git@hf.co:datasets/flashinfer-ai/flashinfer-trace", True),
        ("ssh://git@hf.co/datasets/flashinfer-ai/flashinfer-trace.git/", True),
        ("https://huggingface.co/flashinfer-ai/flashinfer-trace", False),
        ("https://github.com/a/b.git", False),
        ("/datasets/a/b", False),
    ],
)
def test_the_dataset_of_a_remote(url: str, repo_id: bool) -> None:
    assert dataset_of_url(url) == ("flashinfer-ai/flashinfer-trace" if repo_id else None)


def test_what_is_published() -> None:
    wanted = patterns(reports=True)
    assert is_published("blob/a", wanted)
    assert is_published("traces/a/b/c.jsonl", wanted)
    assert is_published("workloads/c.jsonl", wanted)
    for name in (
        *("definitions/a.json", "definitions/a/b/c.json", "definitions/.a/b.json", "blob"),
        *("tests/references/a/b.py", "reports/conflicts.json", "README.md", "blob/x~", "xblob/a"),
    ):
        assert not is_published(name, wanted)
    assert not is_published("reports/provenance/a.json", patterns(reports=False))
    assert all(p.startswith("reports/") for p in REPORTS)


def test_the_command(
    root: Path, hub: Any, op_plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: op_plugins)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", stub.WRITE)

    def invoke(*more: str) -> Result:
        given = ("--dataset", str(root), "--repo-id", REPO_ID)
        return CliRunner().invoke(cli, ["publish", *given, *more])

    dry = invoke()
    assert dry.exit_code == 0, dry.output
    assert f"added   {GEMM}" in dry.stdout
    assert "--yes makes a pull request" in dry.stdout
    assert list(hub.branches) == ["main"]
    done = invoke("--yes", "--json", "--no-pr")
    data = json.loads(done.stdout)
    assert data["url"].startswith(hub.url)
    assert data["counts"]["added"] == len(data["changes"])
    assert stub.WRITE not in done.output
    assert invoke("-q").stdout.startswith("nothing to publish: 0 added")
    (root / GEMM).write_text("{")
    refused = invoke("--yes")
    assert refused.exit_code == 1
    assert "refused:" in refused.stderr
    assert "not published" in refused.stdout


def test_a_report_of_errors_is_plain_data(publish: Publish, root: Path) -> None:
    (root / GEMM).write_text("{")
    data = json.loads(json.dumps(publish().to_dict()))
    assert data["exit_code"] == 1
    assert data["refusals"][0]["error"] == "PublishError"
    assert all(isinstance(r, FibcoreError) for r in publish().refusals)
