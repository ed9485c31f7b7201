"""Validation of a dataset folder: every rule, its severity and its place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fibcore
from fibcore.errors import DatasetError, UsageError
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.ops.hookspecs import Identity, OpType, TestTemplate, hookimpl
from fibcore.ops.registry import Registry, load_plugins
from fibcore.validation.report import ValidationReport
from fibcore.validation.run import validate

REFERENCE = """\
import torch

SIZE = 8


def run(x):
    assert x.shape[1] == SIZE
    return x * 2
"""

TEMPLATE = """\
import torch


def cases(definition):
    return [{"id": f"rows_{n}", "rows": n} for n in (1, 2, 900)]


def make_inputs(definition, case, device, generator):
    return {"x": torch.randn(case["rows"], 8, generator=generator).to(device, torch.bfloat16)}


PROPERTIES = []
"""


def toy(name: str = "toy_h8", **changes: Any) -> Definition:
    values: dict[str, Any] = {
        "name": name,
        "op_type": "toy",
        "axes": {"batch": var("Rows."), "size": const(8, "Width.")},
        "inputs": {"x": tensor("batch size", "bfloat16", "Rows.")},
        "outputs": {"y": tensor("batch size", "bfloat16", "Doubled.")},
        "reference": REFERENCE,
        "tags": ("status:unverified", "model:llama"),
    }
    return Definition(**{**values, **changes})


def plugins(**hooks: Callable[..., Any]) -> Registry:
    """A registry with a plugin for the op type `toy`."""

    def template(op_type: str) -> TestTemplate | None:
        return TestTemplate("toy", TEMPLATE) if op_type == "toy" else None

    given: dict[str, Callable[..., Any]] = {
        "op_types": lambda: [OpType("toy", "a toy")],
        "test_template": template,
        **hooks,
    }
    plugin = SimpleNamespace(**{f"fibcore_{n}": hookimpl(hook) for n, hook in given.items()})
    return load_plugins(extra={"toy": plugin}, discover=False)


def put(root: Path, definition: Definition, text: str | None = None) -> Path:
    path = root / "definitions" / definition.op_type / f"{definition.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((definition.to_json() if text is None else text).encode())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "definitions").mkdir()
    return tmp_path


def check(root: Path, **options: Any) -> ValidationReport:
    """Without what only benchmarked datasets have."""
    options.setdefault("checks", ("layout", "definition", "workload", "solution"))
    return validate(root, registry=options.pop("registry", plugins()), **options)


def listed(report: ValidationReport) -> list[tuple[str, str, str | None, str]]:
    return [(p.severity, p.path, p.place, p.message) for p in report.problems]


def test_a_good_dataset(root: Path) -> None:
    put(root, toy())
    put(root, toy("toy_f16", inputs={"x": tensor("batch size", "float16", "Rows.")}))
    report = check(root)
    assert report.ok
    assert report.problems == ()
    assert report.definitions == {"toy": 2}
    assert report.counts == {
        "definitions": 2,
        "workloads": 0,
        "solutions": 0,
        "executed": 0,
        "not_executed": 0,
        "errors": 0,
        "warnings": 0,
    }
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_it_is_the_public_function(root: Path) -> None:
    assert fibcore.validate is validate
    report = fibcore.validate(root)
    assert [p.message for p in report.problems] == ["there are no definitions"]


@pytest.mark.parametrize("path", ["missing", "file", "empty"])
def test_what_is_no_dataset(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="not a dataset folder") as caught:
        check(tmp_path / path)
    assert str(tmp_path / path) in str(caught.value.where)


def test_broken_files_are_errors_with_their_place(root: Path) -> None:
    good = put(root, toy("good"))
    put(root, toy("cut_off"), toy("cut_off").to_json()[:-40])
    put(root, toy("dtype"), toy("dtype").to_json().replace("bfloat16", "bf16"))
    put(root, toy("moved"), toy("elsewhere").to_json())
    report = check(root)
    assert not report.ok
    assert [(p.path, p.place) for p in report.errors] == [
        ("definitions/toy/cut_off.json", "$ line 39 column 16"),
        ("definitions/toy/dtype.json", "$.inputs.x.dtype"),
        ("definitions/toy/moved.json", "$.name"),
    ]
    assert report.definitions == {"toy": 4}
    assert "expected: 'moved'\n  found: 'elsewhere'" in str(report.errors[2])
    assert good.exists()


def test_what_does_not_belong_into_the_folders(root: Path) -> None:
    put(root, toy())
    (root / "definitions" / "notes.txt").write_text("")
    (root / "definitions" / ".hidden").write_text("")
    (root / "definitions" / "toy" / "toy_h8.py").write_text("")
    (root / "definitions" / "toy" / "deeper").mkdir()
    report = check(root)
    assert report.ok
    assert [(p.severity, p.path) for p in report.problems] == [
        ("warning", "definitions/notes.txt"),
        ("warning", "definitions/toy/deeper"),
        ("warning", "definitions/toy/toy_h8.py"),
    ]


def other_form(definition: Definition, **options: Any) -> str:
    return json.dumps(definition.to_dict(), **{"indent": 2, **options}) + "\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (toy().to_json()[:-1], "line 41"),
        (toy().to_json().replace("\n", "\r\n"), "line 1"),
        (other_form(toy(), indent=4), "line 2"),
        (other_form(toy(), sort_keys=True), "line 2"),
        (other_form(toy(description="größe")), "line 3"),
    ],
    ids=["no end of line", "CRLF", "indent", "key order", "escapes"],
)
def test_other_forms_are_warnings(root: Path, text: str, place: str) -> None:
    put(root, toy(), text)
    report = check(root)
    assert listed(report) == [
        ("warning", "definitions/toy/toy_h8.json", place, "not in canonical form")
    ]


def test_flags_in_use_are_fine_and_others_are_named(root: Path) -> None:
    put(root, toy(tags=("fused", "gpu:sm100", "routing:pre-computed", "status:reference")))
    assert check(root).problems == ()
    put(root, toy(tags=("fast", "status:unverified")))
    assert [(p.message, p.found) for p in check(root).problems] == [("unknown flag", "fast")]


def test_tags_in_another_order_are_a_warning(root: Path) -> None:
    text = toy().to_json()
    first, second = '"model:llama"', '"status:unverified"'
    swapped = text.replace(first, "@").replace(second, first).replace("@", second)
    assert swapped != text
    put(root, toy(), swapped)
    assert [p.message for p in check(root).warnings] == ["not in canonical form"]


@pytest.mark.parametrize(
    ("reference", "severity", "place", "message"),
    [
        ("import os\n" + REFERENCE, "error", "$.reference line 1", "may need more"),
        (
            REFERENCE.replace("return", "from flashinfer import norm\n    return"),
            "error",
            "$.reference line 8",
            "may need more",
        ),
        (
            REFERENCE.replace("    assert x.shape[1] == SIZE\n", ""),
            "warning",
            "$.reference",
            "does not seem to assert",
        ),
    ],
    ids=["import", "import inside", "no assertion"],
)
def test_references(root: Path, reference: str, severity: str, place: str, message: str) -> None:
    put(root, toy(reference=reference))
    ((found_severity, _, found_place, found),) = listed(check(root))
    assert (found_severity, found_place) == (severity, place)
    assert message in found


@pytest.mark.parametrize(
    ("tags", "severity", "message"),
    [
        (("model:llama",), "warning", "no status"),
        (("status:verified", "status:unverified"), "error", "more than one status"),
        (("status:tested",), "error", "unknown status"),
        (("status:verified", "speed:fast"), "warning", "unknown category"),
        (("status:verified", "tp:zero"), "error", "not a parallel size"),
        (("status:verified", "ep:0"), "error", "not a parallel size"),
        (("status:verified", "stage:train"), "error", "unknown stage"),
        (("status:verified", "quantization:fp8"), "warning", "unknown dtype"),
        (("status:verified", "fi_api:rmsnorm"), "warning", "not a qualified name"),
        (("status:verified", "model:my model"), "warning", "not a model slug"),
    ],
)
def test_tags(root: Path, tags: tuple[str, ...], severity: str, message: str) -> None:
    put(root, toy(tags=tags))
    assert listed(check(root)) == [(severity, "definitions/toy/toy_h8.json", "$.tags", message)]


@pytest.mark.parametrize("stage", ["decode", "prefill", "mtp", "indexer"])
def test_tags_that_are_fine(root: Path, stage: str) -> None:
    tags = ("tp:8", "ep:16", f"stage:{stage}", "quantization:float8_e4m3fn", "status:verified")
    tags = (*tags, "layout:k-last", "sparse:topk")
    put(root, toy(tags=(*tags, "fi_api:flashinfer.norm.rmsnorm", "model:llama-3.1-8b")))
    assert check(root).problems == ()


def test_one_kernel_under_two_names(root: Path) -> None:
    put(root, toy("toy_h8"))
    put(root, toy("toy_h_8"))
    (problem,) = check(root).problems
    assert (problem.severity, problem.path) == ("warning", "definitions/toy/toy_h_8.json")
    assert problem.found == "toy_h8"
    by_name = plugins(identify=lambda definition: Identity(variant=definition.name))
    assert check(root, registry=by_name).problems == ()

    def identify(definition: Definition) -> Identity:
        raise KeyError(definition.name)

    report = check(root, registry=plugins(identify=identify))
    assert ["KeyError" in str(p.found) for p in report.errors] == [True, True]


def test_what_nothing_describes_is_named(root: Path) -> None:
    put(root, toy(axes={"batch": var("Rows."), "size": const(8)}))
    found = [(p.severity, p.place, p.message) for p in check(root).problems]
    assert found == [("warning", "$.axes.size.description", "no description")]


def test_sizes_of_ranks_are_no_tags_of_an_op_type_that_has_none(root: Path) -> None:
    put(root, toy(tags=("ep:2", "status:unverified", "tp:8")))
    assert check(root).problems == ()
    none = plugins(op_types=lambda: [OpType("toy", "a toy", parallel_tags=False)])
    assert [p.found for p in check(root, registry=none).problems] == ["ep:2", "tp:8"]


def test_checks_can_be_chosen(root: Path) -> None:
    put(root, toy(tags=()))
    (root / "definitions" / "notes.txt").write_text("")
    (found,) = check(root, checks="layout").problems
    assert (found.check, found.path) == ("layout", "definitions/notes.txt")
    assert {p.check for p in check(root, checks=["layout", "definition"]).problems} == {
        "layout",
        "definition",
    }
    with pytest.raises(UsageError, match="no such check"):
        check(root, checks="speed")
    assert check(root, checks="benchmark", disable_gpu=True).problems == ()


def test_names_that_other_systems_cannot_store(root: Path) -> None:
    put(root, toy("toy:h8"))
    assert listed(check(root)) == [
        ("warning", "definitions/toy/toy:h8.json", "$.name", "it cannot be a file name everywhere")
    ]


def test_names_twice_and_in_another_case(root: Path) -> None:
    put(root, toy("same", op_type="a"))
    put(root, toy("same", op_type="b"))
    put(root, toy("Same", op_type="c"))
    assert [p.path for p in check(root).errors] == [
        "definitions/b/same.json",
        "definitions/c/Same.json",
    ]


def test_links_that_lead_out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "notes.txt").write_text("")
    (root / "definitions" / "toy").symlink_to(outside, target_is_directory=True)
    report = check(root)
    assert [(p.path, p.severity) for p in report.problems] == [("definitions/toy", "error")]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind root")
def test_files_that_cannot_be_read(root: Path) -> None:
    path = put(root, toy())
    path.chmod(0)
    assert listed(check(root)) == [
        ("error", "definitions/toy/toy_h8.json", None, "cannot read the file")
    ]


def test_a_part_of_the_dataset(root: Path) -> None:
    put(root, toy("good"))
    put(root, toy("bad", tags=(), inputs={"x": tensor("batch size", "float16", "Rows.")}))
    put(root, toy("broken"), "{")
    put(root, toy("other", op_type="other", tags=()))
    (root / "definitions" / "notes.txt").write_text("")
    assert check(root, definition_name=["good"]).problems == ()
    assert [p.path for p in check(root, definition_name=["bad", "broken"]).problems] == [
        "definitions/toy/bad.json",
        "definitions/toy/broken.json",
    ]
    report = check(root, op_type=["other"])
    assert [p.path for p in report.problems] == ["definitions/other/other.json"]
    assert report.definitions == {"other": 1}


@pytest.mark.parametrize(
    ("option", "name", "nearest"), [("op_type", "tyo", "toy"), ("definition_name", "goof", "good")]
)
def test_names_that_the_dataset_does_not_have(
    root: Path, option: str, name: str, nearest: str
) -> None:
    put(root, toy("good"))
    with pytest.raises(UsageError) as caught:
        check(root, **{option: [name]})
    assert caught.value.found == repr(name)
    assert caught.value.expected == nearest


# --- running ---------------------------------------------------------------------------------


def test_execution(root: Path) -> None:
    pytest.importorskip("torch", reason="references need torch to run")
    put(root, toy("good"))
    put(root, toy("wrong_dtype", reference=REFERENCE.replace("x * 2", "x.float()")))
    put(root, toy("strict", reference=REFERENCE.replace("SIZE = 8", "SIZE = 9 if True else 8")))
    put(root, toy("others", op_type="others"))
    report = check(root, execute=True)
    assert [(p.path, p.place) for p in report.errors] == [
        ("definitions/toy/strict.json", "$.reference with inputs rows_1"),
        ("definitions/toy/strict.json", "$.reference with inputs rows_2"),
        ("definitions/toy/wrong_dtype.json", "$.reference with inputs rows_1"),
        ("definitions/toy/wrong_dtype.json", "$.reference with inputs rows_2"),
    ]
    assert "AssertionError" in str(report.errors[0].found)
    assert (report.errors[2].expected, report.errors[2].found) == ("bfloat16", "torch.float32")
    assert report.executed == ("good", "strict", "wrong_dtype")
    assert report.not_executed == {"others": "no plugin gives test inputs for others"}


def test_nothing_runs_unless_asked(root: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    put(
        root,
        toy(reference=f"import torch\ntorch.save(8, {str(mark)!r})\n\n\ndef run(x):\n    pass\n"),
    )
    check(root)
    assert not mark.exists()
