"""The wrong-reference kit: mistakes that are rejected, those that are not, and bad mistakes."""

from __future__ import annotations

import pytest
from plugin_toy import definition, kernel

from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import Mistake, assert_accepted, assert_rejected, parameters

pytest.importorskip("torch")

TEMPLATE = Template(
    """
import torch


def cases(definition):
    return [{"id": "one"}]


def make_inputs(definition, case, device, generator):
    return {"x": torch.ones(2, 8)}


def gives_the_input(run, definition, case, device, generator):
    x = make_inputs(definition, case, device, generator)["x"]
    assert torch.equal(run(x), x)


PROPERTIES = [gives_the_input]
"""
)
DEFINITION = definition(kernel())
DOUBLED = Mistake.of("doubled", "return x", "return 2 * x")


def test_a_mistake_that_is_rejected() -> None:
    assert_rejected(TEMPLATE, DEFINITION, DOUBLED)
    assert_accepted(TEMPLATE, DEFINITION)


def test_a_mistake_that_no_property_sees() -> None:
    same = Mistake.of("plus nothing", "return x", "return x + 0")
    with pytest.raises(AssertionError, match="toy_h8: no property rejects it: plus nothing"):
        assert_rejected(TEMPLATE, DEFINITION, same)
    with pytest.raises(AssertionError, match="no property rejects it"):
        assert_rejected(TEMPLATE, DEFINITION, DOUBLED, cases=())


def test_a_crash_is_no_rejection_unless_it_is_meant_as_one() -> None:
    crash = Mistake.of("out of range", "return x", "return x[9]")
    with pytest.raises(IndexError):
        assert_rejected(TEMPLATE, DEFINITION, crash)
    assert_rejected(TEMPLATE, DEFINITION, crash, crashes=(IndexError,))


def test_a_mistake_whose_text_is_not_there_fails() -> None:
    with pytest.raises(AssertionError, match="the reference does not hold 'return y'"):
        assert_rejected(TEMPLATE, DEFINITION, Mistake.of("other", "return y", "return x"))


def test_changes_are_made_one_after_the_other() -> None:
    mistake = Mistake.of("two", "x)", "y)", "(y", "(z")
    assert mistake.made_in("run(x): x)") == "run(z): y)"
    with pytest.raises(ValueError, match="no pairs of right and wrong"):
        Mistake.of("half", "x")


def test_a_wrong_reference_is_not_accepted() -> None:
    wrong = definition(kernel(), reference="def run(x):\n    return 2 * x\n")
    with pytest.raises(AssertionError):
        assert_accepted(TEMPLATE, wrong)


def test_parameters_are_named_after_the_mistakes() -> None:
    (alone,) = parameters([DOUBLED])
    assert (alone.values, alone.id) == ((DOUBLED,), "doubled")
    (paired,) = parameters({"small": [DOUBLED]})
    assert (paired.values, paired.id) == (("small", DOUBLED), "small-doubled")
