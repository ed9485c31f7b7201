"""Formats of several plugins are one; what a model has reaches them, and files lie where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plugin_toy
import pytest

import fibcore
from fibcore.errors import FibcoreError, UsageError
from fibcore.exporting.devices import devices
from fibcore.exporting.run import ROWS, export_formats
from fibcore.model.kernel import Extraction, Use
from fibcore.ops.exports import Exported, ExportedFile, ExportFormat, ExportRequest
from fibcore.ops.registry import Registry


def toy_format(seen: list[ExportRequest], **more: Any) -> ExportFormat:
    def write(request: ExportRequest) -> Exported:
        seen.append(request)
        rows = tuple((served.definition.name,) for served in request.kernels)
        return Exported((ExportedFile("deep/toy.txt", "text\n"),), ("name",), rows)

    return ExportFormat("some-tool", "a tool", ("toy",), write, **more)


@pytest.fixture
def asked(tiny_source: Path, tiny_config: Path) -> dict[str, Any]:
    return {"model_name": "tiny", "sglang": tiny_source, "config": tiny_config}


def registry(one: ExportFormat) -> Registry:
    def extract(tree: Any) -> Extraction:
        path = next(node.path for node in tree.walk() if node.path)
        return Extraction((plugin_toy.kernel(uses=(Use(path, "X", plugin_toy.PLACE),)),))

    return plugin_toy.registry(toy=plugin_toy.plugin(extract=extract, exports=lambda: (one,)))


def test_files_are_written_below_the_folder(asked: dict[str, Any], tmp_path: Path) -> None:
    seen: list[ExportRequest] = []
    report = fibcore.export(
        "some-tool", output=tmp_path / "out", registry=registry(toy_format(seen)), **asked
    )
    assert (tmp_path / "out/deep/toy.txt").read_text() == "text\n"
    assert report.files == ("deep/toy.txt",)
    assert [served.model for served in seen[0].kernels] == ["tiny"]
    assert (seen[0].rows, seen[0].shipped) == (ROWS, None)
    assert [device.name for device in seen[0].devices] == ["H100", "H200", "B200", "MI300X"]


def test_without_a_folder_nothing_is_written(asked: dict[str, Any], tmp_path: Path) -> None:
    report = fibcore.export("some-tool", registry=registry(toy_format([])), **asked)
    assert report.output is None
    assert not list(tmp_path.rglob("toy.txt"))


def test_tuned_configs_of_the_source_reach_the_format(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    seen: list[ExportRequest] = []
    theirs, own = "N=1,device_name=GPU.json", "N=2,device_name=GPU.json"
    for folder, key in ((tmp_path / "theirs", theirs), (asked["sglang"], own)):
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / key).write_text("{}")
    sglang = asked["sglang"] / "sglang/configs"
    (asked["sglang"] / "configs").rename(sglang)
    for consumer, more in (
        ("other", {"shipped": tmp_path / "theirs"}),
        ("other", {}),
        ("sglang", {}),
        ("", {"shipped": tmp_path / "theirs"}),
    ):
        made = registry(toy_format(seen, consumer=consumer))
        fibcore.export("some-tool", registry=made, **more, **asked)
    assert [request.shipped for request in seen] == [{theirs}, None, {own}, None]


def test_a_wrong_format_is_refused_with_the_nearest(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no such format") as error:
        fibcore.export("some-tol", registry=registry(toy_format([])), **asked)
    assert "some-tool" in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        (ExportFormat("Some Tool", "", ("toy",), lambda _: Exported()),),
        (ExportFormat("tool", "", (), lambda _: Exported()),),
        (ExportFormat("tool", "", ("toy",), lambda _: Exported()),) * 2,
    ],
)
def test_what_a_hook_must_not_return(wrong: tuple[ExportFormat, ...]) -> None:
    made = plugin_toy.registry(toy=plugin_toy.plugin(exports=lambda: wrong))
    with pytest.raises(FibcoreError, match="does not allow"):
        made.exports()


def test_formats_of_one_name_are_one(op_plugins: Registry) -> None:
    found = {one.name: one.op_types for one in export_formats(registry=op_plugins)}
    assert set(found["deepgemm"]) == {"gemm", "moe"}
    assert found["kernelbench"] == ()


def test_gpus_have_the_names_that_drivers_report() -> None:
    found = devices(("h100", "NVIDIA_L40S"))
    assert [one.reported for one in found] == ["NVIDIA H100 80GB HBM3", "NVIDIA L40S"]


def test_the_cores_own_formats_have_all_op_types(
    asked: dict[str, Any], op_plugins: Registry
) -> None:
    report = fibcore.export("shapes", registry=op_plugins, **asked)
    (table,) = report.tables
    op_types = {row[table.columns.index("op_type")] for row in table.rows}
    assert {"gemm", "rmsnorm", "gqa_paged"} <= op_types
    narrow = fibcore.export("shapes", registry=op_plugins, op_type="gemm", **asked)
    assert {row[3] for row in narrow.tables[0].rows} == {"gemm"}


def test_a_format_decides_about_its_options(asked: dict[str, Any], op_plugins: Registry) -> None:
    def widest(**more: Any) -> int:
        rows = fibcore.export("gemm-csv", registry=op_plugins, **more, **asked).tables[0].rows
        return max(int(row[7]) for row in rows)

    assert widest(tp=2) == widest() // 2
    assert widest(tp=2, gemm_shapes="layer") == widest() // 2


def test_folders_name_models_and_a_refusal_is_no_success(
    asked: dict[str, Any], op_plugins: Registry, tmp_path: Path
) -> None:
    text = asked["config"].read_text()
    for name, config in (
        ("first/config.json", text),
        ("second.json", text),
        ("third.json", text.replace("TinyForCausalLM", "NobodysModel")),
    ):
        (tmp_path / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / name).write_text(config)
    report = fibcore.export(
        "shapes", configs=tmp_path / "configs", sglang=asked["sglang"], registry=op_plugins
    )
    assert report.models == ("first", "second")
    assert [one.name for one in report.refused] == ["third"]
    assert report.exit_code == 1
