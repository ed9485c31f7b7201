"""The references: properties, bounded memory, refused inputs, agreement with SGLang."""

from __future__ import annotations

import ast
import re
from importlib import resources
from typing import Any

import pytest
from mla_kit import (
    checks,
    definitions,
    generator,
    load_run,
    load_template,
    small_definitions,
)

from fibcore.plugin import joined
from fibcore.testing.harness import harness
from fibcore_op_mla import fibcore_ground_truths

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - needs torch

SMALL = small_definitions()
REAL = definitions()


@pytest.mark.parametrize("name", SMALL)
def test_properties_hold(name: str) -> None:
    for _, check in checks(SMALL[name].reference, SMALL[name]):
        check()


@pytest.mark.parametrize("name", REAL)
def test_dense_float64_at_real_sizes(name: str) -> None:
    for test_id, check in checks(REAL[name].reference, REAL[name]):
        if test_id.endswith("-equals_dense_float64"):
            check()


def with_bounds(source: str, queries: int, keys: int, group_bytes: int) -> str:
    """A reference with other bounds of its working memory on a CPU."""
    source, of_decode = re.subn(r"(?m)^CPU_KEY_CHUNK = .*$", f"CPU_KEY_CHUNK = {keys}", source)
    bounds = f"CPU_BOUNDS = {(queries, keys, group_bytes)}"
    source, of_prefill = re.subn(r"(?m)^CPU_BOUNDS = .*$", bounds, source)
    assert of_decode + of_prefill == 1
    return source


@pytest.mark.parametrize("name", SMALL)
def test_properties_hold_with_many_small_groups_and_steps(name: str) -> None:
    # The chunk sizes decide how often the loops run, never the result.
    source = with_bounds(SMALL[name].reference, 3, 5, 8000)
    for test_id, check in checks(source, SMALL[name]):
        if test_id.endswith("float64"):
            check()


@pytest.mark.parametrize("name", [name for name in SMALL if "prefill" in name])
def test_queries_before_the_first_key(name: str) -> None:
    # Causal with more queries than keys: the first ones see none.
    definition = SMALL[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    case = {"id": "more_queries", "sequences": [[5, 2], [4, 3]]}
    inputs = template["make_inputs"](data, case, "cpu", generator())
    output, lse = load_run(definition.reference)(*inputs.values())
    blind = [0, 1, 2, 5]
    assert bool((output[blind] == 0).all())
    assert bool((lse[blind] == -torch.inf).all())
    assert bool(lse[[3, 4, 6, 7, 8]].isfinite().all())
    template["equals_dense_float64"](load_run(definition.reference), data, case, "cpu", generator())


@pytest.mark.parametrize("name", SMALL)
def test_empty_batch(name: str) -> None:
    definition = SMALL[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    case = {"id": "nothing", "sequences": []}
    inputs = template["make_inputs"](data, case, "cpu", generator())
    output, lse = load_run(definition.reference)(*inputs.values())
    assert output.shape[0] == lse.shape[0] == 0


@pytest.mark.parametrize("name", SMALL)
def test_wrong_sizes_are_refused(name: str) -> None:
    definition = SMALL[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    case = {"id": "two", "sequences": [[1, 3], [1, 2]]}
    inputs = template["make_inputs"](data, case, "cpu", generator())
    run = load_run(definition.reference)
    run(*inputs.values())
    for key, value in inputs.items():
        if isinstance(value, torch.Tensor):
            short = value[:-1] if value.ndim == 1 else value[..., :-1]
            wrong: dict[str, Any] = {**inputs, key: short}
            with pytest.raises(AssertionError):
                run(*wrong.values())


class LargestTensor(TorchDispatchMode):
    """Elements of the largest floating-point tensor that an operator makes, outputs left out.

    A view of another tensor, or a tensor written to, takes no memory and is not counted.
    """

    def __init__(self, outputs: set[tuple[int, ...]]) -> None:
        super().__init__()
        self.outputs = outputs
        self.elements = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, torch.Tensor) else torch.empty(0)
        if func.is_view or func._schema.is_mutable:
            return result
        if made.is_floating_point() and tuple(made.shape) not in self.outputs:
            self.elements = max(self.elements, made.numel())
        return result


@pytest.mark.parametrize("keys", [9, 300])
@pytest.mark.parametrize("name", SMALL)
def test_no_tensor_grows_with_the_number_or_length_of_sequences(name: str, keys: int) -> None:
    definition = SMALL[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    source = with_bounds(definition.reference, 64, 32, 4 * 40000)
    queries = 1 if "decode" in name else 9
    case = {"id": "large", "sequences": [[queries, keys]] * 100}
    inputs = template["make_inputs"](data, case, "cpu", generator())
    rows = len(next(iter(inputs.values())))
    shapes = {(rows, *list(definition.const_axes.values())[:1])}
    shapes |= {(*shape, width) for shape in shapes for width in (20, 24)}
    with LargestTensor(shapes) as largest:
        load_run(source)(*inputs.values())
    assert 0 < largest.elements <= 40000


def test_no_loop_over_tokens_heads_or_sequences() -> None:
    folder = resources.files("fibcore_op_mla") / "references"
    for file in folder.iterdir():
        if not file.name.endswith(".py"):
            continue
        tree = ast.parse(joined(folder, file.name))
        loops = [ast.unparse(n.iter) for n in ast.walk(tree) if isinstance(n, ast.For)]
        loops += [ast.unparse(n.test) for n in ast.walk(tree) if isinstance(n, ast.While)]
        # Over groups of sequences or tiles and over steps of keys.
        steps = "key_chunk" if "ragged" in file.name else "step"
        groups = "order" if "decode" in file.name else "tiles"
        assert loops == [f"range(0, longest, {steps})", f"first < len({groups})"]


@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_sglang(name: str, load_sglang: Any) -> None:
    definition = SMALL[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    truth = (fibcore_ground_truths(definition) or ())[-1]
    namespace: dict[str, Any] = {"__name__": "truth"}
    exec(truth.source, namespace)  # noqa: S102 - our own file
    run = load_run(definition.reference)
    for case in template["cases"](data):
        inputs = template["make_inputs"](data, case, "cpu", generator())
        output, _ = run(*inputs.values())
        expected, no_lse = namespace[truth.entry](load_sglang, **inputs)
        assert no_lse is None
        compared = harness().compare_tensors(output, expected, 1e-2, 8e-3, 1.0)
        assert compared.inside, f"{case['id']}: {compared}"
    assert load_sglang.files
