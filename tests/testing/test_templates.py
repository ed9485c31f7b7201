"""References and test templates as tests of plugins load and run them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from plugin_toy import definition, kernel, plugin

from fibcore.ops.hookspecs import TestTemplate
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

SOURCE = """
import torch


def cases(definition):
    return [{"id": f"rows_{n}", "rows": n} for n in (1, 3)]


def make_inputs(definition, case, device, generator):
    size = definition["axes"]["hidden_size"]["value"]
    return {"x": torch.randn(case["rows"], size, generator=generator, device=device)}


def gives_the_input(run, definition, case, device, generator):
    x = make_inputs(definition, case, device, generator)["x"]
    assert torch.equal(run(x), x)


def is_finite(run, definition, case, device, generator):
    assert run(make_inputs(definition, case, device, generator)["x"]).isfinite().all()


PROPERTIES = [gives_the_input, is_finite]
"""
TEMPLATE = Template(SOURCE)
DEFINITION = definition(kernel())


def test_the_template_of_a_plugin() -> None:
    toy = plugin(test_template=lambda: TestTemplate("toy", SOURCE))
    assert Template.of(toy, "toy").cases(DEFINITION) == TEMPLATE.cases(DEFINITION)
    with pytest.raises(AssertionError, match="no test template for other"):
        Template.of(toy, "other")


def test_inputs_are_the_same_every_time_and_depend_on_the_seed() -> None:
    case = TEMPLATE.cases(DEFINITION)[1]
    first, again = (TEMPLATE.inputs(DEFINITION, case)["x"] for _ in range(2))
    assert first.shape == (3, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, Template(SOURCE, seed=1).inputs(DEFINITION, case)["x"])


def test_every_property_at_every_size_is_a_check() -> None:
    run = load_run(DEFINITION.reference)
    checks = dict(TEMPLATE.checks(DEFINITION, run))
    assert list(checks) == [
        f"rows_{rows}-{name}" for rows in (1, 3) for name in ("gives_the_input", "is_finite")
    ]
    for check in checks.values():
        check()
    one = TEMPLATE.checks(DEFINITION, run, [{"id": "five", "rows": 5}])
    assert [name for name, _ in one] == ["five-gives_the_input", "five-is_finite"]


def test_what_rejects_a_reference() -> None:
    assert list(TEMPLATE.rejected(DEFINITION, lambda x: x + 1)) == [
        "rows_1-gives_the_input",
        "rows_3-gives_the_input",
    ]

    def crashes(_: object) -> object:
        raise IndexError

    assert len(list(TEMPLATE.rejected(DEFINITION, crashes, crashes=(IndexError,)))) == 4
    with pytest.raises(IndexError):
        list(TEMPLATE.rejected(DEFINITION, crashes))


def test_a_source_is_a_module_of_its_own() -> None:
    one, other = load_source("X = 1\n", "one"), load_source("X = 2\n", "other")
    assert (one.X, other.X, one.__name__) == (1, 2, "one")
    assert SimpleNamespace(**vars(one)).X == 1
