"""Runs references and checks what they return."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.dataset import Dataset
from fibcore.dataset.files import relative
from fibcore.errors import FibcoreError, PluginError
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.references.running import ReferenceRunner
from fibcore.validation.problems import ValidationProblem, error


def run_references(
    store: Dataset, definitions: Sequence[Definition], plugins: Registry, timeout_s: float
) -> tuple[tuple[str, ...], dict[str, str], list[ValidationProblem]]:
    """Run references on the smallest cases of their op types' test templates.

    Returns:
        The names of the definitions whose references ran, name to reason for those that could
        not, and what went wrong.
    """
    executed: list[str] = []
    not_executed: dict[str, str] = {}
    problems: list[ValidationProblem] = []
    with ReferenceRunner(timeout_s=timeout_s) as runner:
        for definition in definitions:
            source = template_source(plugins, definition.op_type)
            if isinstance(source, FibcoreError):
                not_executed[definition.name] = source.message
                continue
            outcome = runner.run(definition.to_dict(), source)
            if outcome.cases:
                executed.append(definition.name)
            elif not outcome.problems:
                not_executed[definition.name] = "the test template has no case for it"
            path = relative(store.root, store.path(definition))
            for p in outcome.problems:
                place = "$.reference" if p.case is None else f"$.reference with inputs {p.case}"
                message = f"{p.message} ({p.check})"
                problems.append(error(path, place, message, p.expected, p.found))
    return tuple(executed), not_executed, problems


def template_source(plugins: Registry, op_type: str) -> str | FibcoreError:
    """The source of an op type's test template; the error where there is none."""
    try:
        template = plugins.test_template(op_type)
    except PluginError as failure:
        return failure
    if template is None:
        return PluginError(f"no plugin gives test inputs for {op_type}")
    return template.source
