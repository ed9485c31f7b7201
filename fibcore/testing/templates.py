"""References and test templates, loaded and run as the generated tests do; needs torch."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from fibcore.model.definition import Definition
from fibcore.ops.registry import load_plugins

SEED = 20
"""Of the generators that test templates draw from."""

Run = Callable[..., Any]
Case = Mapping[str, Any]
CRASHES = (IndexError, RuntimeError)
"""What a wrong reference may raise besides an assertion; generated tests fail there as well."""

_numbers = itertools.count()


def load_source(source: str, name: str) -> ModuleType:
    """A module of its own that holds what `source` defines."""
    module = ModuleType(name)
    exec(compile(source, f"<{name} {next(_numbers)}>", "exec"), module.__dict__)  # noqa: S102
    return module


def load_run(source: str) -> Run:
    """The function `run` of a reference."""
    run: Run = load_source(source, "reference").run
    return run


class Template:
    """The test template of an op type.

    Attributes:
        module: What its source defines.
        seed: Of the generators that inputs are drawn from.
    """

    def __init__(self, source: str, seed: int = SEED) -> None:
        """Load a template from its text."""
        self.module = load_source(source, "template")
        self.seed = seed

    @classmethod
    def of(cls, plugin: object, op_type: str, seed: int = SEED) -> Template:
        """The template that a plugin gives for one of its op types."""
        registry = load_plugins(extra={"plugin-under-test": plugin}, discover=False)
        template = registry.test_template(op_type)
        assert template is not None, f"the plugin has no test template for {op_type}"
        return cls(template.source, seed)

    def generator(self) -> Any:
        """A new generator on the CPU."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def cases(self, definition: Definition) -> list[dict[str, Any]]:
        """The test sizes of a definition."""
        found: list[dict[str, Any]] = self.module.cases(definition.to_dict())
        return found

    def inputs(self, definition: Definition, case: Case) -> dict[str, Any]:
        """Inputs of a definition at one size, by name and in order, on the CPU."""
        made: dict[str, Any] = self.module.make_inputs(
            definition.to_dict(), case, _cpu(), self.generator()
        )
        return made

    def checks(
        self,
        definition: Definition,
        run: Run,
        cases: Sequence[Case] | None = None,
        device: str = "cpu",
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """Every property at every size: its test id, and a function that asserts it.

        Args:
            definition: The definition.
            run: Its reference, or a wrong one.
            cases: Test sizes in place of the template's.
            device: Where the reference runs.
        """
        import torch

        data, where = definition.to_dict(), torch.device(device)
        for case in self.cases(definition) if cases is None else cases:
            for check in self.module.PROPERTIES:
                one = functools.partial(check, run, data, case, where, self.generator())
                yield f"{case['id']}-{check.__name__}", one

    def rejected(
        self,
        definition: Definition,
        run: Run,
        cases: Sequence[Case] | None = None,
        crashes: tuple[type[Exception], ...] = (),
    ) -> Iterator[str]:
        """The ids of properties that do not hold; what `crashes` names counts like an assertion."""
        rejections: tuple[type[Exception], ...] = (AssertionError, *crashes)
        for name, check in self.checks(definition, run, cases):
            try:
                check()
            except rejections:  # noqa: PERF203 - each on its own
                yield name


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


@contextlib.contextmanager
def unwritten_memory_is_nan() -> Iterator[None]:
    """Let memory that nothing was written to hold NaN, not what an earlier reference left there."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
