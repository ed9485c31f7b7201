"""The options of the reference tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.verification.emitted.options import OPTIONS, add_options, check_options, option


class Config:
    """Stands in for pytest's: values by name of the option."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def getoption(self, name: str, default: Any = None) -> Any:
        return self.values.get(name.strip("-"), default)


def config(**values: Any) -> Any:
    return Config(**values)


def parser() -> pytest.Parser:
    return pytest.Parser(_ispytest=True)


def test_all_are_added() -> None:
    made = parser()
    add_options(made)
    found = made.parse_known_args(
        ["--device", "cpu", "--tolerance", "0.5", "--definition", "a", "--definition", "b"]
    )
    assert found.reference_tests_device == "cpu"
    assert found.reference_tests_tolerance == 0.5
    assert found.reference_tests_definition == ["a", "b"]
    assert found.reference_tests_sglang is None
    assert found.reference_tests_evidence is None
    assert made.parse_known_args([]).reference_tests_device == "auto"


def test_second_conftest_adds_nothing() -> None:
    made = parser()
    add_options(made)
    add_options(made)
    names = [o.dest for o in made.getgroup("reference tests").options]
    assert len(names) == len(set(names)) == len(OPTIONS)


def test_option_of_another_plugin_is_left_alone() -> None:
    made = parser()
    made.getgroup("other").addoption("--device", dest="other_device", default="tpu")
    add_options(made)
    found = made.parse_known_args(["--device", "x"])
    assert found.other_device == "x"
    assert not hasattr(found, "reference_tests_device")


def test_default_stands_for_what_was_not_given() -> None:
    assert option(config(device=None), "--device", "auto") == "auto"
    assert option(config(), "--device", "auto") == "auto"
    assert option(config(device="cpu"), "--device", "auto") == "cpu"
    assert option(config(tolerance=0.0), "--tolerance", 1.0) == 0.0


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_impossible_tolerance(tolerance: float) -> None:
    with pytest.raises(pytest.UsageError, match=r"--tolerance .*: expected a number of at least 0"):
        check_options(config(tolerance=tolerance))


def test_folder_without_sglang(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=r"no SGLang source there \(no sglang/srt\)"):
        check_options(config(sglang=str(tmp_path)))
    (tmp_path / "sglang" / "srt").mkdir(parents=True)
    check_options(config(sglang=str(tmp_path), tolerance=0.0))
