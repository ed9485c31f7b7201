"""The dataset folder: what comes in, what stays, what is refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.dataset import BrokenFileError, Dataset, Outcome, ProvenanceEntry, files
from fibcore.errors import DatasetError, PluginError
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Fact, Use
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace

PLACE = SourcePlace("sglang/srt/models/example.py", 7)


def toy(
    size: int = 8,
    name: str | None = None,
    *,
    model: str = "llama",
    eps: float = 1e-5,
    op_type: str = "toy",
    status: str = "unverified",
    **changes: Any,
) -> Definition:
    """A definition whose structure depends on `size` and `op_type` alone."""
    values: dict[str, Any] = {
        "name": name or f"{op_type}_h{size}",
        "op_type": op_type,
        "axes": {"batch": var(), "hidden_size": const(size)},
        "inputs": {"x": tensor("batch hidden_size", "bfloat16")},
        "outputs": {"y": tensor("batch hidden_size", "bfloat16")},
        "reference": f"EPS = {eps}\n\ndef run(x):\n    assert x.shape[1] == {size}\n    return x\n",
        "description": f"epsilon {eps}",
        "tags": (f"status:{status}", f"model:{model}"),
    }
    return Definition(**{**values, **changes})


def entry(model: str = "llama", eps: float = 1e-5, tp: int = 1) -> ProvenanceEntry:
    facts = {"hidden_size": Fact(8, ("config:hidden_size",), PLACE), "eps": Fact(eps, (), PLACE)}
    uses = tuple(Use(f"model.layers.{i}.norm", "Norm", PLACE) for i in range(3))
    return ProvenanceEntry(model, None, "Arch", Serving(tp=tp), "0.5.9", facts, uses)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


@pytest.fixture
def dataset(root: Path) -> Dataset:
    return Dataset(root)


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time it was last written."""
    return {
        p.relative_to(root).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def names(root: Path) -> list[str]:
    return [name for name in snapshot(root) if name.startswith("definitions/")]


# --- merging ---------------------------------------------------------------------------------


def test_a_new_definition_is_stored_in_the_format(dataset: Dataset, root: Path) -> None:
    outcome = dataset.add(toy())
    path = root / "definitions" / "toy" / "toy_h8.json"
    assert (outcome.kind, outcome.changed, outcome.path) == ("new", True, path)
    assert path.read_bytes() == toy().to_json().encode()
    assert [d.name for d in dataset.read().definitions] == ["toy_h8"]
    assert dataset.get("toy_h8") is not None
    assert dataset.get("toy_h9") is None


def test_the_same_kernel_gathers_tags(dataset: Dataset) -> None:
    dataset.add(toy(model="llama"))
    outcome = dataset.add(toy(model="qwen"))
    assert (outcome.kind, outcome.added_tags) == ("merged", ("model:qwen",))
    assert outcome.definition.tags == ("model:llama", "model:qwen", "status:unverified")
    assert dataset.get("toy_h8") is not None
    assert dataset.get("toy_h8").tags == outcome.definition.tags  # type: ignore[union-attr]


def test_a_second_identical_run_changes_nothing(root: Path) -> None:
    def run() -> list[Outcome]:
        dataset = Dataset(root)
        with dataset.locked():
            return [
                dataset.add(toy(), entry()),
                dataset.add(toy(model="qwen"), entry("qwen", 1e-6)),
                dataset.add(toy(name="other_name"), entry("phi")),
                dataset.add(toy(16), entry()),
                dataset.add(toy(32, name="toy_h8"), entry()),
                dataset.add(toy(64, name="toy_h8"), entry("qwen")),
            ]

    first = run()
    before = snapshot(root)
    second = run()
    assert snapshot(root) == before
    assert [o.kind for o in first] == [
        *("new", "merged", "same-kernel-other-name", "new", "conflict", "conflict")
    ]
    assert [o.kind for o in second] == [
        *("unchanged", "unchanged", "same-kernel-other-name", "unchanged", "conflict", "conflict")
    ]
    assert not any(o.changed for o in second)
    assert [o.name for o in first] == [o.name for o in second]


def test_the_same_kernel_under_another_name_is_kept(dataset: Dataset, root: Path) -> None:
    dataset.add(toy(name="toy_h_8"))
    outcome = dataset.add(toy(model="qwen"))
    assert (outcome.kind, outcome.requested, outcome.name) == (
        *("same-kernel-other-name", "toy_h8", "toy_h_8"),
    )
    assert "toy_h_8" in outcome.message
    assert "model:qwen" in outcome.message
    assert names(root) == ["definitions/toy/toy_h_8.json"]


def test_the_own_name_is_preferred_where_two_have_the_kernel(dataset: Dataset, root: Path) -> None:
    folder = root / "definitions" / "toy"
    folder.mkdir(parents=True)
    for name in ("a_first", "toy_h8"):
        (folder / f"{name}.json").write_text(toy(name=name).to_json())
    assert dataset.add(toy(model="qwen")).name == "toy_h8"
    assert dataset.add(toy(name="third")).name == "a_first"


def test_names_words_and_the_order_of_axes_do_not_make_another_kernel(dataset: Dataset) -> None:
    dataset.add(toy())
    axes = {"hidden_size": const(8, "the size"), "batch": var("rows")}
    outcome = dataset.add(toy(name="x", axes=axes, description="other", constraints=("batch > 0",)))
    assert outcome.kind == "same-kernel-other-name"


@pytest.mark.parametrize(
    "changes",
    [
        {"op_type": "toy2", "name": "toy_h8"},
        {"axes": {"batch": var(), "hidden_size": const(9)}},
        {"inputs": {"x": tensor("batch hidden_size", "float16")}},
        {"outputs": {"y": tensor("batch", "bfloat16")}},
    ],
    ids=["op type", "size", "dtype", "shape"],
)
def test_the_same_name_with_another_structure_is_a_conflict(
    dataset: Dataset, changes: dict[str, Any]
) -> None:
    dataset.add(toy())
    outcome = dataset.add(toy(**changes))
    assert (outcome.kind, outcome.name) == ("conflict", "toy_h8_v2")


def test_a_variant_makes_two_kernels_of_one_structure(root: Path) -> None:
    def variant(definition: Definition) -> str:
        return definition.description or ""

    dataset = Dataset(root, variant=variant)
    dataset.add(toy(description="causal"))
    outcome = dataset.add(toy(description="full"))
    assert (outcome.kind, outcome.name) == ("conflict", "toy_h8_v2")
    assert [d.field for d in outcome.differences] == ["description", "(function)"]
    assert dataset.add(toy(name="x", description="full")).name == "toy_h8_v2"


def test_a_variant_that_cannot_be_told_stops_that_definition_alone(root: Path) -> None:
    def variant(definition: Definition) -> str:
        if definition.name == "bad":
            raise PluginError("the plugin failed")
        return ""

    dataset = Dataset(root, variant=variant)
    dataset.add(toy(name="bad"))
    with pytest.raises(PluginError):
        dataset.add(toy())
    assert dataset.add(toy(16)).kind == "new"


def test_models_that_differ_in_an_epsilon_share_a_definition(dataset: Dataset) -> None:
    dataset.add(toy(model="llama", eps=1e-5), entry("llama", 1e-5))
    outcome = dataset.add(toy(model="qwen", eps=1e-6), entry("qwen", 1e-6))
    assert outcome.kind == "merged"
    assert outcome.definition.reference == toy(eps=1e-5).reference
    assert outcome.definition.description == "epsilon 1e-05"
    assert outcome.reference_differs
    assert [(c.name, c.values) for c in outcome.constants] == [
        ("eps", ((1e-5, ("llama",)), (1e-6, ("qwen",))))
    ]
    assert "eps is 1e-05 for llama, 1e-06 for qwen" in outcome.message


# --- status and updates ----------------------------------------------------------------------


def status(outcome: Outcome) -> tuple[str, ...]:
    return outcome.definition.tag_values("status")


def test_a_verified_reference_stays_verified(dataset: Dataset) -> None:
    dataset.add(toy(status="verified"))
    assert status(dataset.add(toy(model="qwen"))) == ("verified",)
    assert status(dataset.add(toy(model="phi", eps=1e-6))) == ("verified",)


def test_evidence_for_the_same_reference_counts(dataset: Dataset) -> None:
    dataset.add(toy())
    assert status(dataset.add(toy(eps=1e-6, status="verified"))) == ("unverified",)
    assert status(dataset.add(toy(status="verified"))) == ("verified",)


def test_a_definition_without_status_gets_one(dataset: Dataset) -> None:
    dataset.add(toy(tags=("model:llama",)))
    outcome = dataset.add(toy(eps=1e-6, status="verified"))
    assert (outcome.kind, status(outcome)) == ("merged", ("unverified",))


def test_a_changed_reference_stays_out_unless_asked_for(dataset: Dataset) -> None:
    dataset.add(toy(status="verified"))
    newer = toy(reference="def run(x):\n    assert x.shape[1] == 8\n    return x + 0\n")
    kept = dataset.add(newer)
    assert (kept.kind, kept.changed, kept.reference_differs) == ("unchanged", False, True)
    assert "reference differs" in kept.message
    updated = dataset.add(newer, update=True)
    assert (updated.kind, updated.changed, updated.reference_differs) == ("updated", True, False)
    assert updated.definition.reference == newer.reference
    assert status(updated) == ("unverified",)
    assert dataset.add(newer, update=True).kind == "unchanged"


def test_an_update_of_words_keeps_the_status(dataset: Dataset) -> None:
    dataset.add(toy(status="verified"))
    outcome = dataset.add(toy(description="better words"), update=True)
    assert (outcome.kind, status(outcome)) == ("updated", ("verified",))
    assert outcome.definition.description == "better words"


def test_within_one_run_an_update_happens_once(dataset: Dataset) -> None:
    dataset.add(toy(eps=1e-4))
    with dataset.locked():
        dataset.add(toy(eps=1e-5), update=True)
        outcome = dataset.add(toy(model="qwen", eps=1e-6), update=True)
    assert outcome.definition.reference == toy(eps=1e-5).reference
    assert "model:qwen" in outcome.definition.tags


def test_setting_the_status(dataset: Dataset) -> None:
    dataset.add(toy())
    digest = toy().reference_hash
    assert dataset.set_status("toy_h8", True, reference_hash=digest)
    assert not dataset.set_status("toy_h8", True, reference_hash=digest)
    assert dataset.get("toy_h8").tag_values("status") == ("verified",)  # type: ignore[union-attr]
    assert dataset.set_status("toy_h8", False)
    with pytest.raises(DatasetError, match="changed since"):
        dataset.set_status("toy_h8", True, reference_hash="0" * 64)
    with pytest.raises(DatasetError, match="no such definition"):
        dataset.set_status("toy_h9", True)


# --- conflicts -------------------------------------------------------------------------------


def reports(root: Path) -> list[str]:
    return [p.name for p in sorted((root / "reports").glob("conflicts.*"))]


def test_conflicts_are_reported_field_by_field_and_closed(dataset: Dataset, root: Path) -> None:
    dataset.add(toy(model="llama"))
    assert reports(root) == []
    first = dataset.add(toy(16, name="toy_h8", model="qwen"))
    second = dataset.add(toy(32, name="toy_h8", model="phi"))
    assert [first.name, second.name] == ["toy_h8_v2", "toy_h8_v3"]
    assert [(d.field, d.kept, d.new) for d in first.differences if d.field != "reference"] == [
        (
            "axes.hidden_size",
            {"type": "const", "value": 8},
            {"type": "const", "value": 16},
        )
    ]
    data = json.loads((root / "reports" / "conflicts.json").read_text())
    assert [(c["name"], c["saved_as"]) for c in data["conflicts"]] == [
        ("toy_h8", "toy_h8_v2"),
        ("toy_h8", "toy_h8_v3"),
    ]
    one = data["conflicts"][0]
    assert (one["kept"]["models"], one["new"]["models"]) == (["llama"], ["qwen"])
    assert [d["field"] for d in one["differences"]] == ["axes.hidden_size", "reference"]
    assert "+    assert x.shape[1] == 16" in one["reference_diff"]
    text = (root / "reports" / "conflicts.md").read_text()
    for part in ("## toy_h8", "toy_h8_v3.json", "phi", "| axes.hidden_size |", "+    assert"):
        assert part in text

    (root / "definitions" / "toy" / "toy_h8_v2.json").unlink()
    dataset.add(toy(64))
    data = json.loads((root / "reports" / "conflicts.json").read_text())
    assert [c["saved_as"] for c in data["conflicts"]] == ["toy_h8_v3"]
    (root / "definitions" / "toy" / "toy_h8.json").unlink()
    dataset.add(toy(128))
    assert reports(root) == []


def test_a_conflict_that_comes_again_finds_its_own_file(dataset: Dataset, root: Path) -> None:
    dataset.add(toy())
    dataset.add(toy(16, name="toy_h8"))
    before = snapshot(root)
    again = dataset.add(toy(16, name="toy_h8"))
    assert (again.kind, again.name, again.changed) == ("conflict", "toy_h8_v2", False)
    assert [d.field for d in again.differences] == ["axes.hidden_size", "reference"]
    assert snapshot(root) == before
    more = dataset.add(toy(16, name="toy_h8", model="qwen"))
    assert (more.name, more.added_tags) == ("toy_h8_v2", ("model:qwen",))


def test_a_kernel_of_another_name_is_no_conflict_even_if_its_name_is_taken(
    dataset: Dataset, root: Path
) -> None:
    dataset.add(toy(8, name="taken"))
    dataset.add(toy(16, name="toy_h16"))
    outcome = dataset.add(toy(16, name="taken"))
    assert (outcome.kind, outcome.name) == ("same-kernel-other-name", "toy_h16")
    assert reports(root) == []


def test_a_suffix_alone_makes_no_conflict(dataset: Dataset, root: Path) -> None:
    put(root, toy().to_json())
    put(root, toy(name="toy_h8_v2").to_json(), "toy_h8_v2")
    put(root, toy(16, name="other_v2").to_json(), "other_v2")
    dataset.add(toy(32))
    assert dataset.conflicts() == []
    assert reports(root) == []


# --- files of others -------------------------------------------------------------------------


def put(root: Path, text: str | bytes, name: str = "toy_h8", op_type: str = "toy") -> Path:
    path = root / "definitions" / op_type / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def foreign_text(definition: Definition) -> str:
    """The definition as another tool may write it: other order, indent and escapes."""
    data = dict(reversed(definition.to_dict().items()))
    data["tags"] = data["tags"][::-1]
    data["constraints"] = []
    return json.dumps(data, indent=4)


def test_a_foreign_file_keeps_its_bytes_until_its_tags_change(dataset: Dataset, root: Path) -> None:
    text = foreign_text(toy(description="größer"))
    path = put(root, text)
    assert dataset.add(toy()).kind == "unchanged"
    assert path.read_text() == text
    assert dataset.add(toy(model="qwen")).kind == "merged"
    kept = toy(description="größer").with_tags("model:qwen")
    assert path.read_text(encoding="utf-8") == kept.to_json()


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str | None, str]] = {
    "an unknown key": (lambda d: {**d, "author": "me"}, "$", "unknown key"),
    "a key that is missing": (lambda d: {k: d[k] for k in d if k != "axes"}, "$.axes", "missing"),
    "an axis of the wrong type": (
        lambda d: {**d, "axes": {**d["axes"], "batch": {"type": "dynamic"}}},
        "$.axes.batch.type",
        "unknown axis type",
    ),
    "a size that is text": (
        lambda d: {**d, "axes": {**d["axes"], "hidden_size": {"type": "const", "value": "8"}}},
        "$.axes.hidden_size.value",
        "wrong type",
    ),
    "an unknown dtype": (
        lambda d: {**d, "inputs": {"x": {"shape": ["batch"], "dtype": "bf16"}}},
        "$.inputs.x.dtype",
        "unknown dtype",
    ),
    "tags that are text": (lambda d: {**d, "tags": "status:verified"}, "$.tags", "wrong type"),
    "another name": (lambda d: {**d, "name": "toy_h9"}, "$.name", "disagree"),
    "another op type": (lambda d: {**d, "op_type": "moe"}, "$.op_type", "disagree"),
    "a reference that does not parse": (
        lambda d: {**d, "reference": "def run(x:"},
        "$.reference",
        "does not parse",
    ),
    "a list": (lambda d: [d], "$", "a JSON object"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_the_place_and_never_touched(
    dataset: Dataset, root: Path, case: str
) -> None:
    breaks, place, message = BROKEN[case]
    text = json.dumps(breaks(toy().to_dict()))
    path = put(root, text)
    put(root, toy(16).to_json(), "toy_h16")
    definitions, errors = dataset.read()
    assert [d.name for d in definitions] == ["toy_h16"]
    (error,) = errors
    assert (error.path, error.place) == ("definitions/toy/toy_h8.json", place)
    assert message in error.message
    with pytest.raises(BrokenFileError) as caught:
        dataset.add(toy())
    assert caught.value.path == "definitions/toy/toy_h8.json"
    with pytest.raises(BrokenFileError):
        dataset.get("toy_h8")
    assert path.read_text() == text
    assert dataset.add(toy(16, model="qwen")).kind == "merged"


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"", "$ line 1 column 1", "not JSON"),
        (b'{"name": ', "$ line 1 column 10", "not JSON"),
        (b'{"name": "\xff"}', "byte 10", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "$ line 1 column 1", "not JSON"),
        (b'{"name": "a", "name": "b"}', "$", "twice"),
        (b'{"axes": {"n": {"type": "const", "value": NaN}}}', "$", "not JSON"),
        (b"[" * 100_000, "$", "nested too deeply"),
    ],
    ids=["empty", "cut off", "not UTF-8", "byte order mark", "key twice", "NaN", "nested"],
)
def test_files_that_are_no_json(
    dataset: Dataset, root: Path, content: bytes, place: str, message: str
) -> None:
    put(root, content)
    (error,) = dataset.read().errors
    assert error.place == place
    assert message in error.message


def test_a_broken_file_under_a_suffixed_name_is_not_overwritten(
    dataset: Dataset, root: Path
) -> None:
    dataset.add(toy())
    path = put(root, "{", "toy_h8_v2")
    with pytest.raises(BrokenFileError):
        dataset.add(toy(16, name="toy_h8"))
    assert path.read_text() == "{"


def test_one_name_in_two_folders(dataset: Dataset, root: Path) -> None:
    put(root, toy(op_type="a", name="same").to_json(), "same", "a")
    put(root, toy(op_type="b", name="same").to_json(), "same", "b")
    definitions, errors = dataset.read()
    assert [d.op_type for d in definitions] == ["a"]
    assert [e.path for e in errors] == ["definitions/b/same.json"]
    assert errors[0].found == "definitions/a/same.json"


def test_a_file_that_was_edited_between_two_adds_is_read_again(dataset: Dataset) -> None:
    with dataset.locked():
        path = dataset.add(toy()).path
        edited = toy(description="edited by hand").with_tags("model:edited")
        path.write_text(edited.to_json())
        outcome = dataset.add(toy(model="qwen"))
    assert outcome.definition.description == "edited by hand"
    assert {"model:edited", "model:qwen"} <= set(outcome.definition.tags)


def test_a_file_that_appears_between_two_adds_is_not_overwritten(
    dataset: Dataset, root: Path
) -> None:
    with dataset.locked():
        dataset.add(toy(16))
        path = put(root, toy(32, name="toy_h8").to_json())
        outcome = dataset.add(toy())
    assert (outcome.kind, outcome.name) == ("conflict", "toy_h8_v2")
    assert path.read_text() == toy(32, name="toy_h8").to_json()


# --- names and links -------------------------------------------------------------------------


def test_names_that_differ_in_case_alone_are_refused(dataset: Dataset, root: Path) -> None:
    dataset.add(toy())
    with pytest.raises(DatasetError, match="case alone") as caught:
        dataset.add(toy(16, name="TOY_h8"))
    assert caught.value.found == "toy_h8"
    with pytest.raises(DatasetError, match="case alone"):
        dataset.add(toy(16, name="toy_h16", op_type="Toy"))
    assert dataset.add(toy(name="Toy_H8")).name == "toy_h8"
    assert names(root) == ["definitions/toy/toy_h8.json"]


@pytest.mark.parametrize("name", ["a:b", "-rf", "größe", "a*"])
def test_names_that_are_no_file_names_everywhere_are_refused(dataset: Dataset, name: str) -> None:
    with pytest.raises(DatasetError, match="file name"):
        dataset.add(toy(name=name))
    with pytest.raises(DatasetError, match="file name"):
        dataset.add(toy(name="fine", op_type=name))


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/outside", "reports/../../outside", "", "a\\..\\b"]
)
def test_paths_that_lead_out_are_refused(dataset: Dataset, path: str) -> None:
    with pytest.raises(DatasetError, match="out of the dataset"):
        dataset.write(path, "text")
    with pytest.raises(DatasetError):
        dataset.provenance("../../outside")


def test_links_that_lead_out_are_refused(dataset: Dataset, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "moe").mkdir(parents=True)
    target = outside / "toy_h8.json"
    target.write_text(toy().to_json())
    put(root, "x").unlink()
    (root / "definitions" / "toy" / "toy_h8.json").symlink_to(target)
    (root / "definitions" / "moe").symlink_to(outside / "moe", target_is_directory=True)
    (root / "reports").symlink_to(outside, target_is_directory=True)

    definitions, errors = dataset.read()
    assert definitions == ()
    assert sorted(e.path for e in errors) == ["definitions/moe", "definitions/toy/toy_h8.json"]
    assert all("out of the dataset" in e.message for e in errors)
    with pytest.raises(DatasetError):
        dataset.add(toy(model="qwen"))
    with pytest.raises(DatasetError, match="out of the dataset"):
        dataset.add(toy(op_type="moe"))
    with pytest.raises(DatasetError, match="out of the dataset"):
        dataset.write("reports/x.md", "text")
    assert target.read_text() == toy().to_json()
    assert sorted(p.name for p in outside.iterdir()) == ["moe", "toy_h8.json"]
    assert list((outside / "moe").iterdir()) == []


def test_a_link_inside_is_not_written_through(dataset: Dataset, root: Path) -> None:
    other = root / "notes.md"
    root.mkdir()
    other.write_text("mine")
    (root / "report.md").symlink_to(other)
    with pytest.raises(DatasetError, match="symbolic link"):
        dataset.write("report.md", "text")
    assert other.read_text() == "mine"


def test_a_dataset_behind_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert Dataset(tmp_path / "link").add(toy()).kind == "new"
    assert names(tmp_path / "real") == ["definitions/toy/toy_h8.json"]


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="folder"):
        Dataset(tmp_path / "file")


# --- writing ---------------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


@pytest.fixture
def filled(dataset: Dataset) -> Iterator[Dataset]:
    dataset.add(toy())
    return dataset


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "hint"), [(errno.ENOSPC, "make room"), (errno.EACCES, "right to write")]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    filled: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, hint: str
) -> None:
    before = snapshot(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail(OSError(code, os.strerror(code))))
        with pytest.raises(DatasetError) as caught:
            filled.add(toy(model="qwen"))
        with pytest.raises(DatasetError):
            filled.add(toy(16))
    assert os.strerror(code) in str(caught.value)
    assert "toy_h8.json" in str(caught.value)
    assert hint in str(caught.value.hint)
    assert snapshot(root) == before
    assert filled.add(toy(model="qwen")).kind == "merged"


def test_an_interrupt_leaves_the_old_file_and_frees_the_lock(
    filled: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            filled.add(toy(model="qwen"))
    assert {k: v for k, v in snapshot(root).items() if "lock" not in k} == before
    assert Dataset(root, lock_timeout_s=0).add(toy(model="qwen")).kind == "merged"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_have_the_permissions_that_new_files_have(filled: Dataset, root: Path) -> None:
    path = root / "definitions" / "toy" / "toy_h8.json"
    plain = root / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o600)
    filled.add(toy(model="qwen"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_temporary_files_of_a_crash_are_cleared_away(
    filled: Dataset, root: Path, tmp_path: Path
) -> None:
    name = ".fibcore-0123456789abcdef.tmp"
    folders = ("", "definitions/toy", "reports", "reports/provenance/deep", "tests/a", "blob/b")
    left = [root / folder / name for folder in folders]
    kept = [root / "of the user" / name, root / "reports" / ".other.tmp", tmp_path / "out" / name]
    for file in (*left, *kept):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{")
    (root / "reports" / "link").symlink_to(tmp_path / "out")
    assert filled.read().errors == ()
    assert all(file.exists() for file in left)
    Dataset(root).add(toy(16))
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in kept)


def test_a_dry_run_writes_nothing_and_remembers(root: Path) -> None:
    Dataset(root).add(toy(), entry())
    before = snapshot(root)
    dry = Dataset(root, dry_run=True)
    outcomes = [
        dry.add(toy(model="qwen", eps=1e-6), entry("qwen", 1e-6)),
        dry.add(toy(16), entry()),
        dry.add(toy(16), entry()),
        dry.add(toy(32, name="toy_h16")),
        dry.add(toy(32, name="toy_h16")),
    ]
    assert [(o.kind, o.changed) for o in outcomes] == [
        ("merged", True),
        ("new", True),
        ("unchanged", False),
        ("conflict", True),
        ("conflict", False),
    ]
    assert outcomes[0].constants[0].name == "eps"
    assert dry.write("reports/x.md", "text")
    assert dry.get("toy_h16_v2") is not None
    assert snapshot(root) == before
    assert not Dataset(root / "new", dry_run=True).add(toy()).path.exists()
    assert not (root / "new").exists()


def test_writing_other_files(dataset: Dataset, root: Path) -> None:
    assert dataset.write("tests/references/test_toy.py", "x = 1\n")
    written = snapshot(root)
    assert not dataset.write("tests/references/test_toy.py", "x = 1\n")
    assert snapshot(root) == written
    assert dataset.write("tests/references/test_toy.py", "x = 2\n")


def test_definitions_are_read_once_however_many_come_in(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in range(40):
        put(root, toy(size).to_json(), f"toy_h{size}")
    reads: list[Path] = []
    real = files.read_bytes
    monkeypatch.setattr(
        files, "read_bytes", lambda path, limit: reads.append(Path(path)) or real(path, limit)
    )
    dataset = Dataset(root)
    with dataset.locked():
        for size in range(40, 80):
            dataset.add(toy(size))
        for size in range(80):
            dataset.add(toy(size))
    assert len([p for p in reads if p.suffix == ".json"]) == 40


# --- two runs at once ------------------------------------------------------------------------

CHILD = """
import sys
sys.path[:] = {path!r}
from pathlib import Path
from fibcore.dataset import Dataset
from fibcore.model.definition import Definition
dataset = Dataset(Path({root!r}), notify=lambda text: print(text, flush=True))
"""


def child(root: Path, code: str) -> subprocess.Popen[str]:
    source = CHILD.format(path=sys.path, root=str(root)) + code
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


HOLD = "with dataset.locked():\n    print('held', flush=True)\n    input()\n"


def test_a_second_run_waits_and_says_so(filled: Dataset, root: Path) -> None:
    holder = child(root, HOLD)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    impatient = Dataset(root, lock_timeout_s=0.05, notify=lambda text: said.append(text))
    said: list[str] = []
    with pytest.raises(DatasetError, match="lock") as caught:
        impatient.add(toy(16))
    assert f"process {holder.pid} on " in str(caught.value.found)
    assert "wait for that run or end it" in str(caught.value.hint)
    assert str(holder.pid) in said[0]
    assert filled.read().definitions[0].name == "toy_h8", "reading does not wait"

    waiting = child(root, "with dataset.locked():\n    print('mine', flush=True)\n")
    assert waiting.stdout is not None
    assert "waiting for another run" in waiting.stdout.readline()
    holder.communicate("\n", timeout=30)
    assert waiting.communicate(timeout=30)[0] == "mine\n"


def test_a_run_that_is_killed_frees_the_lock(root: Path) -> None:
    holder = child(root, HOLD)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    assert Dataset(root, lock_timeout_s=5).add(toy()).kind == "new"


def test_two_runs_that_write_lose_nothing(root: Path) -> None:
    code = """
text = {text!r}
for n in range(12):
    changed = text.replace("toy_h8", f"toy_h{{n}}").replace("8", str(n + 100))
    dataset.add(Definition.from_json(changed))
    dataset.add(Definition.from_json(text).with_tags(f"model:{name}-{{n}}"))
"""
    text = toy().to_json()
    runs = [child(root, code.format(text=text, name=name)) for name in ("one", "two")]
    assert [r.communicate(timeout=60)[0] is not None and r.returncode for r in runs] == [0, 0]
    stored = Dataset(root).get("toy_h8")
    assert stored is not None
    expected = {f"{name}-{n}" for name in ("one", "two") for n in range(12)}
    assert expected < set(stored.tag_values("model"))
    assert Dataset(root).read().errors == ()


def test_equal_definitions_of_different_bytes_are_one(dataset: Dataset, root: Path) -> None:
    """`attrs` objects that are equal in content never cause a write."""
    dataset.add(toy())
    before = snapshot(root)
    dataset.add(attrs.evolve(toy(), tags=tuple(reversed(toy().tags))))
    assert snapshot(root) == before
