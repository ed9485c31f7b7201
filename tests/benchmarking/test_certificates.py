"""Certificates: tolerances that tell right implementations from wrong ones, or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.benchmarking.certificates.certificate import (
    YAML,
    Certificate,
    Measured,
    certify_measured,
    settings,
)
from fibcore.benchmarking.certificates.choosing import choose
from fibcore.benchmarking.certificates.worker import ATOLS, RTOLS, widened
from fibcore.cli import cli
from fibcore.errors import UsageError
from fibcore.model.definition import Definition
from fibcore.ops.hookspecs import Implementation, hookimpl
from fibcore.ops.hookspecs import TestTemplate as Template
from fibcore.plugin import rewritten, wrapped

torch = pytest.importorskip("torch")

CERTIFICATE = "reports/certificates/pick_w4.json"


class Plugin(toy.Plugin):
    """The toy op type with implementations."""

    def __init__(self, *made: tuple[Implementation, ...]) -> None:
        super().__init__()
        self.made = [one for each in made for one in each]

    @hookimpl
    def fibcore_implementations(self, definition: Definition) -> Sequence[Implementation]:
        return self.made if definition.name == "pick_w4" else ()


TOY = toy.definition()
WRONG = wrapped(TOY, "2 % too large", scale="scale * 1.02")
RIGHT = wrapped(TOY, "rounded twice", right=True, result="result.half().bfloat16()")


FIGURES = """import torch

PROPERTIES = []


def cases(definition):
    return [{"id": "one"}]


def make_inputs(definition, case, device, generator):
    return {}


def figures(definition, name, value, inputs):
    if name != "out":
        return None
    return value.double().sort(0).values if value.isfinite().all() else value.double()
"""


class WithFigures(Plugin):
    """The toy op type, of which rows may come in any order."""

    @hookimpl
    def fibcore_test_template(self, op_type: str) -> Template:
        return Template(op_type, FIGURES)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, TOY)
    fibcore.add_workloads(dataset=root, registry=toy.registry(), all_=True)
    return root


def certify(dataset: Path, *made: tuple[Implementation, ...], **options: Any) -> Certificate:
    (found,) = fibcore.certify(
        **{
            "dataset": dataset,
            "registry": toy.registry(Plugin(*made)),
            "definition_name": "pick_w4",
            "device": "cpu",
            "limit": 3,
            **options,
        }
    ).certificates
    return found


def verdicts(certificate: Certificate, name: str) -> list[str]:
    return [t.verdict for on in certificate.workloads for t in on.tried if t.name == name]


def test_right_ones_are_accepted_and_wrong_ones_rejected(dataset: Path) -> None:
    found = certify(dataset, RIGHT, WRONG)
    assert found.certified
    assert found.reasons == ()
    assert found.tolerance is not None
    assert found.tolerance.rtol < 0.02
    assert found.tolerance.room >= 2
    assert found.slips == {}
    for name in ("the reference", "rounded twice", "torch rows"):
        assert verdicts(found, name) == ["accepted"] * 3
    for name in ("2 % too large", "zeros"):
        assert verdicts(found, name) == ["rejected"] * 3
    assert set(found.left_out) >= {"flashinfer.pick"}  # on the CPU


def test_outputs_are_compared_by_what_they_stand_for(dataset: Path) -> None:
    other = wrapped(TOY, "rows in another order", right=True, result="result.flip(0)")
    plain = certify(dataset, other, WRONG)
    assert not plain.certified
    (found,) = fibcore.certify(
        dataset=dataset,
        registry=toy.registry(WithFigures(other, WRONG)),
        definition_name="pick_w4",
        device="cpu",
        limit=3,
    ).certificates
    assert found.reasons == ()
    assert found.certified
    assert (found.figures, found.yardstick) == (("out",), "float64")
    assert verdicts(found, "rows in another order") == ["accepted"] * 3
    assert verdicts(found, "2 % too large") == ["rejected"] * 3
    # A benchmark compares the rows themselves.
    assert "pick_w4" not in (dataset / YAML).read_text()


def test_errors_are_those_against_float64(dataset: Path) -> None:
    (on, *_) = certify(dataset, RIGHT, WRONG).workloads
    errors = {tried.name: tried.errors["out"] for tried in on.tried}
    assert 0 <= errors["the reference"]["relative"] < 2**-8  # type: ignore[operator]
    assert errors["zeros"]["relative"] == 1
    assert errors["2 % too large"]["relative"] == pytest.approx(0.02, rel=0.2)


def test_files_are_written_and_the_same_call_changes_none(dataset: Path) -> None:
    options: dict[str, Any] = {"definition_name": "pick_w4", "device": "cpu", "limit": 1}
    plugin = toy.registry(Plugin(RIGHT, WRONG))
    report = fibcore.certify(dataset=dataset, registry=plugin, **options)
    assert report.exit_code == 0
    assert report.written == (CERTIFICATE, YAML)
    data = json.loads((dataset / CERTIFICATE).read_text())
    assert data["certified"] is True
    assert data["reference_sha256"] == TOY.reference_hash
    lines = (dataset / YAML).read_text().splitlines()
    assert lines[1:3] == ["definition_config:", "  pick_w4:"]
    values = {k: float(v) for k, v in (line.strip().split(": ") for line in lines[3:])}
    assert values == {k: data["tolerance"][k] for k in ("rtol", "atol", "required_matched_ratio")}


def test_a_mistake_that_no_workload_shows_is_not_certified(dataset: Path) -> None:
    harmless = wrapped(TOY, "the table is copied", table="table.clone()")
    found = certify(dataset, RIGHT, WRONG, harmless)
    assert not found.certified
    assert found.reasons == ("no workload shows the mistake: the table is copied",)
    assert verdicts(found, "the table is copied") == ["same"] * 3


def test_where_right_and_wrong_are_alike_it_says_so_with_figures(dataset: Path) -> None:
    noisy = wrapped(TOY, "noisy", right=True, result="result * (1 + 0.05 * table.sign())")
    wrong = wrapped(TOY, "small ones are left out", result="result * (table.abs() > 1e-2)")
    found = certify(dataset, noisy, wrapped(TOY, "6 % off", scale="scale * 0.94"), wrong)
    assert not found.certified
    assert any("the right 'noisy' misses" in r and "%" in r for r in found.reasons)


def test_nothing_is_certified_without_wrong_or_right_ones(dataset: Path) -> None:
    assert certify(dataset, RIGHT).reasons == (
        "the plugin has no wrong implementation of this definition",
    )
    raising = wrapped(TOY, "raises", right=True, result="result.no_such_thing")
    assert any("the right 'raises' raised" in r for r in certify(dataset, raising, WRONG).reasons)


def test_a_wrong_one_that_raises_is_rejected(dataset: Path) -> None:
    raising = wrapped(TOY, "raises", result="result.no_such_thing")
    found = certify(dataset, RIGHT, WRONG, raising)
    assert found.certified
    assert verdicts(found, "raises") == ["rejected"] * 3


def test_workloads_that_are_too_large_are_named(dataset: Path) -> None:
    found = certify(dataset, RIGHT, WRONG, max_memory=4096, limit=None)
    assert len(found.workloads) + len(found.not_tried) == 5
    assert "it takes" in " ".join(found.not_tried.values())
    assert certify(dataset, RIGHT, WRONG, max_memory=1).reasons[0] == "no workload was measured"


def test_a_reference_that_is_far_from_float64_is_not_certified(tmp_path: Path) -> None:
    exact = "float(table.dtype == torch.float64)"
    other = TOY.reference.replace("table * scale", f"table * (scale + {exact})")
    toy.write(tmp_path, attrs.evolve(TOY, reference=other))
    fibcore.add_workloads(dataset=tmp_path, registry=toy.registry(), all_=True)
    found = certify(tmp_path, RIGHT, WRONG)
    assert not found.certified
    assert any("the reference is 0.6" in reason for reason in found.reasons)


def test_usage_errors(dataset: Path) -> None:
    with pytest.raises(UsageError, match="no such device"):
        certify(dataset, device="tpu")
    with pytest.raises(UsageError, match="no such bound"):
        certify(dataset, limit=0)


def test_the_command_says_why_not(dataset: Path) -> None:
    arguments = ["certify", "--dataset", str(dataset), "--all", "--device", "cpu", "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1  # no installed plugin knows the op type
    assert json.loads(result.stdout)["certificates"] == []
    assert "no plugin in use has implementations to try" in result.stderr
    assert not (dataset / "reports" / "certificates").exists()  # nor is one of before replaced


def table(misses: float, below: int) -> list[list[float]]:
    """All elements miss the tolerances before one, the part `misses` all others."""
    return [
        [1.0 if max(r, a) < below else misses for a in range(len(ATOLS))] for r in range(len(RTOLS))
    ]


def test_a_tolerance_has_room_on_the_side_of_right_ones() -> None:
    found = choose([table(0.0, 3)], [table(0.0, 8)])
    assert found is not None
    assert found.required_matched_ratio == 1
    place = max(RTOLS.index(found.rtol), ATOLS.index(found.atol))
    assert 4 <= place < 8
    assert choose([table(0.0, 3)], [table(0.0, 4)]) is None  # nothing between them
    assert choose([table(0.0, 8)], [table(0.0, 3)]) is None
    assert choose([], [table(0.0, 3)]) is None


def test_of_tolerances_with_room_the_one_that_rejects_most_is_taken() -> None:
    right, wrong, more = [table(0.0, 3)], [table(0.0, 12)], [table(0.0, 7)]
    alone, hoping = choose(right, wrong), choose(right, wrong, hopefully=more)
    assert alone is not None
    assert hoping is not None
    assert alone.accepts(more[0])
    assert not hoping.accepts(more[0])


def test_a_tolerance_that_many_elements_miss_is_better_than_one_that_few_do() -> None:
    # At the smallest that accept the right one, one element of a million of the wrong one.
    wrong = [
        [max(1e-6, 0.3 * (max(r, a) < 5)) for a in range(len(ATOLS))] for r in range(len(RTOLS))
    ]
    right = [[0.001 * (max(r, a) < 6) for a in range(len(ATOLS))] for r in range(len(RTOLS))]
    found = choose([right], [wrong])
    assert found is not None
    assert found.missed(wrong) > 0.1
    assert found.required_matched_ratio < 1


def measured(uuid: str, right: int, **wrong: int) -> Measured:
    """A workload on which all elements miss the tolerances before one, by implementation."""

    def one(name: str, below: int) -> dict[str, Any]:
        errors = {"out": {"max": below, "rms": below, "relative": 0.01 * below}}
        kind = {"the reference": "reference", "rounded": "variant"}.get(name, "wrong")
        about = {"name": name, "kind": kind, "right": kind != "wrong", "errors": errors}
        return {**about, "plain": 0.0, "missed": table(0.0, below)}

    sizes = {"the reference": right - 1, "rounded": right, **wrong}
    return Measured(uuid, {"n": 1}, [one(*each) for each in sizes.items()], {})


def test_each_mistake_has_to_be_rejected_on_one_workload() -> None:
    # On the first workload all numbers are as small as the errors on the second.
    first, second = (
        measured("1", 1, off=4, half=4, zeros=4),
        measured("2", 4, off=6, half=8, zeros=8),
    )
    found = certify_measured(TOY, [first, second], 0, {})
    assert found.certified
    assert set(found.slips) == {"off", "half", "zeros"}
    assert set(found.slips.values()) == {("1",)}
    alike = measured("2", 4, off=4, half=8, zeros=8)
    refused = certify_measured(TOY, [first, alike], 0, {})
    assert not refused.certified
    assert "no tolerance is right for all workloads" in refused.reasons[0]


def test_a_wrong_one_that_errs_no_more_than_right_ones_is_the_same() -> None:
    def one(name: str, error: float, *, right: bool) -> dict[str, Any]:
        errors = {"out": {"max": error, "rms": error, "relative": error}}
        return {"name": name, "right": right, "errors": errors, "missed": table(0.0, 3)}

    tried = [
        one("the reference", 0.1, right=True),
        one("rounded", 0.2, right=True),
        one("as good", 0.2, right=False),
        one("worse", 0.3, right=False),
        {"name": "not here", "kind": "torch", "left_out": "no GPU"},
    ]
    measured = Measured("uuid", {}, tried, {})
    assert measured.same == {"as good"}
    assert [each["name"] for each in measured.separable(right=False)] == ["worse"]


def test_a_part_that_is_missed_separates_too() -> None:
    found = choose([table(0.01, 3)], [table(0.2, 3)])
    assert found is not None
    assert 0.01 <= 1 - found.required_matched_ratio < 0.1
    assert choose([table(0.1, 3)], [table(0.15, 3)]) is None


CONVERSIONS = (
    "x.to(torch.float32)",
    "x.float()",
    "x.bfloat16().half()",
    "x.to(torch.float32, memory_format=torch.contiguous_format)",
    "x.to(dtype=torch.float)",
    "x.to(torch.bfloat16, copy=True)",
    "x.to(y.dtype)",
)


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_what_is_widened_copies_before_it_changes_in_place(conversion: str) -> None:
    source = (
        "def run(x):\n"
        "    y = x.to(torch.int8) if x.is_cuda else x\n"
        f"    return ({conversion}).mul_(2)\n"
    )
    namespace: dict[str, Any] = {"torch": torch}
    exec(widened(source), namespace)  # noqa: S102 - what is tested
    given = torch.ones(3, dtype=torch.float64)
    result = namespace["run"](given)
    assert result.dtype == torch.float64
    assert result.tolist() == [2, 2, 2]
    assert given.tolist() == [1, 1, 1]


def test_bits_that_are_read_as_a_narrow_number_are_still_that_many() -> None:
    source = "def run(bits):\n    return (bits << 7).view(torch.bfloat16)\n"
    namespace: dict[str, Any] = {"torch": torch}
    exec(widened(source), namespace)  # noqa: S102 - what is tested
    result = namespace["run"](torch.tensor([127, 128, 126], dtype=torch.int16))
    assert result.dtype == torch.float64
    assert result.tolist() == [1.0, 2.0, 0.5]


def test_a_float64_evaluation_that_changes_its_inputs_is_none(tmp_path: Path) -> None:
    changed = TOY.reference.replace("table * scale", "table.type(torch.float32).mul_(scale)")
    assert changed != TOY.reference
    toy.write(tmp_path, attrs.evolve(TOY, reference=changed))
    fibcore.add_workloads(dataset=tmp_path, registry=toy.registry(), all_=True)
    found = certify(tmp_path, RIGHT, WRONG)
    assert not found.certified
    assert any("the evaluation in float64 changes its input table" in r for r in found.reasons)


def test_an_output_of_one_byte_is_compared_in_its_format(tmp_path: Path) -> None:
    """float64, rounded once: not a bfloat16 product that is rounded again."""
    outputs = {"out": attrs.evolve(TOY.outputs["out"], dtype="float8_e4m3fn")}
    source = TOY.reference.replace("table * scale", "(table * scale).to(torch.float8_e4m3fn)")
    assert source != TOY.reference
    quantised = attrs.evolve(TOY, reference=source, outputs=outputs)
    toy.write(tmp_path, quantised)
    fibcore.add_workloads(dataset=tmp_path, registry=toy.registry(), all_=True)
    found = certify(tmp_path, wrapped(quantised, "half as large", scale="scale * 0.5"))
    assert found.reasons == ()
    assert set(verdicts(found, "half as large")) == {"rejected"}


def test_a_drawn_output_has_no_certificate(tmp_path: Path) -> None:
    outputs = {"out": attrs.evolve(TOY.outputs["out"], dtype="int64")}
    source = TOY.reference.replace("table * scale", "torch.randint(0, 9999, table.shape)")
    assert source != TOY.reference
    toy.write(tmp_path, attrs.evolve(TOY, reference=source, outputs=outputs))
    fibcore.add_workloads(dataset=tmp_path, registry=toy.registry(), all_=True)
    found = certify(tmp_path, WRONG)
    assert not found.certified
    assert any("reference give other out: they are drawn" in r for r in found.reasons)


def test_only_what_is_certified_is_exported() -> None:
    tolerance = {"rtol": 2.0**-20, "atol": 0.5, "required_matched_ratio": 1.0}
    rows = [
        {"definition": "b", "certified": True, "tolerance": tolerance},
        {"definition": "a", "certified": False, "tolerance": tolerance},
    ]
    text = settings(rows)
    assert "  b:\n    rtol: 9.5367431640625e-07\n    atol: 0.5\n" in text
    assert "  a:" not in text
    assert settings([]).endswith("definition_config: {}\n")


def test_rewriting_needs_the_text() -> None:
    assert rewritten(TOY, "other", "no such text", "x") == ()
    (one,) = rewritten(TOY, "other", "table * scale", "table")
    assert not one.right
    assert "return table\n" in one.source
    assert wrapped(TOY, "other", no_such_input="0") == ()
