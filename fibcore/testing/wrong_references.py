"""The wrong-reference kit: plausible mistakes, each of which the properties have to reject.

The properties of a test template run on every machine, without any ground truth. They are worth
what they reject. In a plugin's tests::

    TEMPLATE = Template.of(fibcore_op_layernorm, "layernorm")
    MISTAKES = [
        Mistake.of("the epsilon is forgotten", "variance + EPS", "variance"),
        Mistake.of("the bias comes first", "* weight + bias", "* (weight + bias)"),
    ]

    @pytest.mark.parametrize("mistake", parameters(MISTAKES))
    def test_wrong_references_are_rejected(mistake):
        assert_rejected(TEMPLATE, definition(), mistake)

    def test_the_right_reference_is_accepted():
        assert_accepted(TEMPLATE, definition())
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.model.definition import Definition
from fibcore.ops.hookspecs import Implementation
from fibcore.testing.templates import (
    CRASHES,
    Case,
    Template,
    load_run,
    unwritten_memory_is_nan,
)

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


@attrs.frozen
class Mistake:
    """A mistake that somebody could make in a reference.

    Attributes:
        name: What is wrong, in a few words.
        changes: (text of the right reference, text in its place), made one after the other.
    """

    name: str
    changes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, name: str, *texts: str) -> Mistake:
        """A mistake from texts in turns: right, wrong, right, wrong, ..."""
        if len(texts) % 2 or not texts:
            raise ValueError(f"{name}: the texts are no pairs of right and wrong")
        return cls(name, tuple(zip(texts[::2], texts[1::2], strict=True)))

    def made_in(self, source: str) -> str:
        """The source with this mistake; an assertion fails where a text is not there."""
        for right, wrong in self.changes:
            assert right in source, f"{self.name}: the reference does not hold {right!r}"
            source = source.replace(right, wrong)
        return source


def parameters(
    mistakes: Iterable[Mistake] | Mapping[str, Iterable[Mistake]],
) -> list[ParameterSet]:
    """Parameters for `pytest.mark.parametrize`: mistakes, or pairs of a kernel's key and a mistake.

    The names of the mistakes are the test ids.
    """
    import pytest

    if isinstance(mistakes, Mapping):
        return [
            pytest.param(key, mistake, id=f"{key}-{mistake.name}")
            for key, own in mistakes.items()
            for mistake in own
        ]
    return [pytest.param(mistake, id=mistake.name) for mistake in mistakes]


def assert_rejected(
    template: Template,
    definition: Definition,
    mistake: Mistake,
    *,
    cases: Sequence[Case] | None = None,
    crashes: tuple[type[Exception], ...] = (),
) -> None:
    """A property does not hold for the reference with this mistake.

    Args:
        template: The op type's test template.
        definition: A definition with the right reference, in small sizes.
        mistake: What is wrong.
        cases: Test sizes in place of the template's.
        crashes: Exceptions of the wrong reference that count as rejection. By default none does:
            a reference that crashes has rejected itself, and shows little of the properties.

    Raises:
        AssertionError: all properties hold, or the mistake's text is not in the reference.
    """
    run: Any = load_run(mistake.made_in(definition.reference))
    with unwritten_memory_is_nan():
        found = next(template.rejected(definition, run, cases, crashes), None)
    assert found is not None, f"{definition.name}: no property rejects it: {mistake.name}"


def assert_wrong_ones_rejected(
    template: Template, definition: Definition, implementations: Iterable[Implementation]
) -> None:
    """A property rejects each wrong implementation that `fibcore_implementations` gives.

    Right ones may round as good kernels do, which is more than properties let pass.

    Raises:
        AssertionError: all properties hold for a wrong one, or there is none.
    """
    wrong = [one for one in implementations if not one.right]
    assert wrong, f"{definition.name}: there is no wrong implementation"
    for one in wrong:
        with unwritten_memory_is_nan():
            rejected = template.rejected(definition, load_run(one.source), crashes=CRASHES)
            found = next(rejected, None)
        assert found is not None, f"{definition.name}: no property rejects it: {one.name}"


def assert_accepted(
    template: Template, definition: Definition, *, cases: Sequence[Case] | None = None
) -> None:
    """Every property holds for the definition's own reference; raises what fails."""
    for _, check in template.checks(definition, load_run(definition.reference), cases):
        check()
