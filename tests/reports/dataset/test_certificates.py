"""Certificates on the page of a dataset: what they say, of which reference, and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.benchmarking.certificates.certificate import Measured, certify_measured
from fibcore.benchmarking.certificates.reading import read_certificate
from fibcore.benchmarking.certificates.worker import ATOLS, RTOLS
from fibcore.cli import cli
from fibcore.errors import DatasetError
from fibcore.reports.dataset import DatasetReport

DEFINITION = toy.definition()
PATH = "reports/certificates/pick_w4.json"


def measured(uuid: str, **below: int) -> Measured:
    """A workload on which all elements miss the tolerances before one, by implementation."""

    def one(name: str, place: int) -> dict[str, Any]:
        cells = [[float(max(r, a) < place) for a in range(len(ATOLS))] for r in range(len(RTOLS))]
        errors = {"out": {"max": 0.1 * place, "rms": 0.1 * place, "relative": 0.01 * place}}
        kind = {"first": "reference", "other": "variant"}.get(name, "wrong")
        about = {"name": name, "kind": kind, "right": kind != "wrong", "errors": errors}
        return {**about, "plain": 0.0, "missed": cells}

    made = [one(*each) for each in below.items()]
    return Measured(uuid, {"rows": 7}, made, {"device": "NVIDIA H200", "torch": "2"})


def write(root: Path, *found: Measured, **changes: Any) -> None:
    made = certify_measured(DEFINITION, found, 0, {"w9": "it takes 9.0 GiB"})
    file = root / PATH
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(attrs.evolve(made, **changes).to_dict()), encoding="utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    toy.write(tmp_path, DEFINITION)
    return tmp_path


def page(root: Path) -> tuple[DatasetReport, str]:
    done = fibcore.report(dataset=root, registry=toy.registry())
    return done, (root / "reports/index.html").read_text(encoding="utf-8")


TELLS = measured("w1", first=1, other=2, doubled=6, late=2, zeros=7)
ALSO = measured("w2", first=1, other=2, doubled=6, late=6, zeros=7)


def test_a_certificate_is_on_the_page_and_in_the_report(dataset: Path) -> None:
    write(dataset, TELLS, ALSO)
    done, text = page(dataset)
    (found,) = done.certificates
    assert (found.definition, found.state, found.device) == ("pick_w4", "certified", "NVIDIA H200")
    assert (found.tried, found.not_tried, found.reasons) == (2, 1, ())
    assert (found.right, found.accepted) == (4, 4)
    assert (found.wrong, found.rejected, found.same) == (6, 5, 1)
    assert found.tolerance is not None
    assert done.to_dict()["certificates"][0]["tolerance"]["rtol"] == found.tolerance.rtol
    assert "2 workloads tried on NVIDIA H200, 1 not tried" in text
    assert "4 of 4 right ones accepted, 5 of 6 wrong ones rejected" in text
    assert "not tried: it takes 9.0 GiB" in text
    assert f"rtol <code>{found.tolerance.rtol:.3g}<" in text.replace("\\/", "/")


def test_one_that_is_not_certified_says_why(dataset: Path) -> None:
    write(dataset, TELLS)
    done, text = page(dataset)
    (found,) = done.certificates
    assert found.state == "not certified"
    assert found.reasons == ("no workload shows the mistake: late",)
    assert "no workload shows the mistake: late" in text


def test_where_nothing_separates_the_workload_says_so(dataset: Path) -> None:
    write(dataset, measured("w1", first=1, other=6, doubled=7, zeros=7))
    _, text = page(dataset)
    assert "none separates" in text


def test_one_of_another_reference_is_outdated(dataset: Path) -> None:
    write(dataset, TELLS, ALSO, reference_sha256="0" * 64)
    done, text = page(dataset)
    assert [found.state for found in done.certificates] == ["outdated"]
    assert "It is about another reference than the present one." in text


def test_without_certificates_nothing_is_claimed(dataset: Path) -> None:
    done, text = page(dataset)
    assert done.certificates == ()
    assert "Nobody tried" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"definition": "pick_w4"}', "is missing"),
        ("[]", PATH),
    ],
)
def test_a_broken_certificate_is_listed(dataset: Path, text: str, message: str) -> None:
    write(dataset, TELLS)
    (dataset / PATH).write_text(text)
    with pytest.raises(DatasetError) as failure:
        read_certificate(dataset, DEFINITION)
    assert message in str(failure.value)
    assert PATH in str(failure.value)
    done, shown = page(dataset)
    assert done.exit_code == 1
    assert PATH in shown.replace("\\/", "/")


def test_one_that_names_another_definition_is_broken(dataset: Path) -> None:
    write(dataset, TELLS, definition="pick_w8")
    with pytest.raises(DatasetError, match="a certificate of another definition"):
        read_certificate(dataset, DEFINITION)


def test_the_command_counts_them(dataset: Path) -> None:
    write(dataset, TELLS, ALSO)
    result = CliRunner().invoke(cli, ["report", "--dataset", str(dataset)], prog_name="fibcore")
    assert "certificates: 1 certified" in result.output
