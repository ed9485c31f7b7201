"""What the tests of grouped query attention share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest

from fibcore.plugin import Definition, GroundTruth, Serving
from fibcore.testing.trees import module, tree
from fibcore_op_gqa import (
    fibcore_extract,
    fibcore_ground_truths,
    fibcore_reference,
)

Check = Callable[[Callable[..., Any], dict[str, Any], dict[str, Any]], None]


def attention(path: str = "model.layers.0.self_attn.attn", **arguments: Any) -> Any:
    """A RadixAttention leaf as Llama constructs it, with other arguments where given."""
    calls = arguments.pop("calls", ())
    attributes = arguments.pop("attributes", {})
    defaults = {
        "num_heads": 32,
        "head_dim": 128,
        "scaling": 128**-0.5,
        "num_kv_heads": 8,
        "layer_id": 0,
        "logit_cap": 0.0,
        "v_head_dim": -1,
        "sliding_window_size": -1,
        "is_cross_attention": False,
        "pos_encoding_mode": "NONE",
        "logit_capping_method": "tanh",
        "quant_config": None,
        "attn_type": "decoder",
        "use_irope": False,
        "prefix": path,
    }
    return module(
        path,
        "sglang.srt.layers.radix_attention.RadixAttention",
        {**defaults, **arguments},
        attributes=attributes,
        calls=calls,
    )


@pytest.fixture(name="attention")
def attention_fixture() -> Callable[..., Any]:
    return attention


@pytest.fixture
def definitions() -> Callable[..., dict[str, Definition]]:
    """Definitions of one attention layer, by name."""

    def make(
        heads: int = 32,
        kv_heads: int = 8,
        head_dim: int = 128,
        page_sizes: tuple[int, ...] = (1, 64),
        window: int | None = None,
        cap: float = 0.0,
    ) -> dict[str, Definition]:
        layer = attention(
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            scaling=head_dim**-0.5,
            sliding_window_size=-1 if window is None else window - 1,
            logit_cap=cap,
        )
        found = fibcore_extract(tree(layer), Serving(options={"page_size": page_sizes}))
        made = [fibcore_reference(kernel) for kernel in found.kernels]
        return {d.name: d for d in made if d is not None}

    return make


def load_run(source: str) -> Callable[..., Any]:
    """`run` of a reference, in a namespace of its own."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<reference>", "exec"), namespace)  # noqa: S102 - our own file
    run: Callable[..., Any] = namespace["run"]
    return run


@pytest.fixture(name="load_run")
def load_run_fixture() -> Callable[[str], Callable[..., Any]]:
    return load_run


class Template:
    """The test template, loaded as the generated tests load it."""

    def __init__(self) -> None:
        source = resources.files("fibcore_op_gqa").joinpath("test_template.py")
        self.namespace: dict[str, Any] = {}
        exec(source.read_text(encoding="utf-8"), self.namespace)  # noqa: S102 - our own file

    def cases(self, definition: Definition) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.namespace["cases"](definition.to_dict())
        return found

    def inputs(self, definition: Definition, case: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.namespace["make_inputs"](
            definition.to_dict(), case, "cpu", self.generator()
        )
        return made

    def generator(self) -> Any:
        import torch

        return torch.Generator().manual_seed(20)

    def checks(self, definition: Definition, run: Callable[..., Any]) -> Iterator[Any]:
        """Every property on every case: its id and a function that asserts it."""
        data = definition.to_dict()
        for case in self.cases(definition):
            for check in self.namespace["PROPERTIES"]:

                def assert_it(check: Any = check, case: Any = case) -> None:
                    check(run, data, case, "cpu", self.generator())

                yield f"{case['id']}-{check.__name__}", assert_it


@pytest.fixture(scope="session")
def template() -> Template:
    return Template()


def ground_truth(definition: Definition, kind: str) -> GroundTruth:
    truths = fibcore_ground_truths(definition)
    assert truths is not None
    return next(truth for truth in truths if truth.kind == kind)
