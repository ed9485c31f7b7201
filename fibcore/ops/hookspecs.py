"""The hooks: all that an op-type plugin gives to fibcore, and all that the core knows of ops.

A plugin is a module (or object) named by an entry point in the group `fibcore`; it implements some
or all of these functions, each marked with `hookimpl`. It may have an integer
`fibcore_hook_api`, the version of the hooks that it is for; a fibcore with another version skips
it. Hooks receive and return public data types, all of which `fibcore.plugin` has.

What concerns one op type is asked of the plugin that names it in `fibcore_op_types`, and of no
other. `fibcore_extract`, `fibcore_ground_truths` and `fibcore_exports` are asked of every plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from fibcore.model.cost import Cost
from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Kernel, Scalar
from fibcore.model.options import Option
from fibcore.model.serving import Serving
from fibcore.model.step_batch import StepBatch
from fibcore.model.tree import ModelTree
from fibcore.ops.exports import ExportFormat

if TYPE_CHECKING:
    import numpy as np

PROJECT = "fibcore"

HOOK_API = 1
"""The version of the hooks: their names, parameters, and what they return."""

HOOK_API_ATTRIBUTE = "fibcore_hook_api"
"""What a plugin calls the version that it is for."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen
class OpType:
    """An op type that a plugin is responsible for.

    Attributes:
        name: The name of its folder in datasets, `gqa_paged`.
        description: A line for people.
        options: Options of serving that its kernels depend on. Op types that share an option
            declare it identically.
        parallel_tags: Whether its definitions may have the tags `tp:` and `ep:`. False for kernels
            that published datasets give none, such as those of whole layers.
    """

    name: str
    description: str
    options: tuple[Option[Any], ...] = ()
    parallel_tags: bool = True


@attrs.frozen
class GroundTruth:
    """An independent implementation to compare a definition's reference with.

    `source` is the text of a real Python file of the plugin. It is rendered into the test module
    beside other ground truths, so the names at its top level have to be its own (begin them with
    the entry's name). It may import torch, math and numpy at the top; anything else inside
    functions.

    Attributes:
        name: What people read: `flashinfer.norm.rmsnorm`, `sglang RMSNorm.forward_native`.
        kind: "flashinfer", "sglang" or "torch".
        entry: Name of the function in `source`. It takes the definition's inputs by name and
            returns the outputs in order: a tensor where there is one output, else a tuple, with
            None for outputs that it does not give. A ground truth of kind "sglang" takes
            `load_sglang` as its first parameter: a function `(file, qualname, **namespace)` that
            returns one function of SGLang's source, file being relative to the `sglang` package,
            without importing SGLang; see `SGLangSource` in `verification/emitted/`.
        source: Text of the file.
        device: "cuda" where it needs a GPU, "any" otherwise.
        min_capability: Lowest CUDA compute capability, (9, 0); None for any.
        max_capability: Highest that it supports, None for any.
        packages: Distributions that have to be importable, by import name: ("flashinfer",).
        solution: Whether `fibcore add-solutions` may emit it as a baseline to benchmark: False
            where it gives None for an output, or runs only where somebody has built it.
    """

    name: str
    kind: str
    entry: str
    source: str
    device: str = "any"
    min_capability: tuple[int, int] | None = None
    max_capability: tuple[int, int] | None = None
    packages: tuple[str, ...] = ()
    solution: bool = True


@attrs.frozen
class Identity:
    """What a plugin recognises in a definition of its op type, whoever wrote it.

    Attributes:
        variant: A name for the function that it computes, where its tensors do not tell it (a
            causal and a full attention have the same). Definitions with the same structure are
            the same kernel only if their variants are equal.
        contradictions: Where its sizes contradict each other, a sentence each: heads that do not
            divide, a size in the name that is not the axis's. What no kernel of the op type can
            have; such a definition is not imported. `fibcore.ops.authoring.consistency` helps.
    """

    variant: str = ""
    contradictions: tuple[str, ...] = ()


def _no_tensors() -> Mapping[str, np.ndarray[Any, Any]]:
    return {}


@attrs.frozen
class WorkloadCase:
    """One size of a definition to benchmark, with the inputs that cannot be random numbers.

    What is neither in `scalars` nor in what `tensors` returns is drawn by the benchmark, normally
    distributed (flashinfer-bench clamps fp8 to [-2, 2]).

    Attributes:
        label: What people read, unique among the cases of a definition: `batch 64, 4096 keys`.
        axes: The size of every var axis.
        scalars: Values of scalar inputs by name.
        tensors: Makes the other inputs that have to be just so (indptr, indices, scales), by name,
            as NumPy arrays of the definition's shapes; they are rounded to its dtypes. Called
            only where the case is used, because they can be large; equal every time.
    """

    label: str
    axes: Mapping[str, int]
    scalars: Mapping[str, int | float | bool] = attrs.field(factory=dict)
    tensors: Callable[[], Mapping[str, np.ndarray[Any, Any]]] = _no_tensors


@attrs.frozen
class Implementation:
    """An implementation by which a benchmark is tried: a right one passes, a wrong one does not.

    Attributes:
        name: What it does otherwise than the reference, `the last key is dropped`.
        right: Whether it computes the definition: with other sums, or other roundings.
        source: Text of a file that runs by itself with torch, as a reference does, with a function
            `run` that takes the definition's inputs in order. `rewritten` and `wrapped` of
            `fibcore.plugin` make it of the definition's reference.
    """

    name: str
    right: bool
    source: str


@attrs.frozen
class TestTemplate:
    """What the generated test module of an op type is made of besides ground truths.

    Attributes:
        op_type: The op type.
        source: Text of a real Python file of the plugin that needs torch alone. It defines

            * `cases(definition) -> list[dict]`: test sizes; each a JSON-able dict with a unique
              "id". `definition` is the definition's JSON data everywhere. Several sizes and the
              edge cases that the op has.
            * `make_inputs(definition, case, device, generator) -> dict`: the inputs by name, in
              order, on `device`, drawn from `generator` (a CPU `torch.Generator`).
            * `PROPERTIES`: a list of functions `(run, definition, case, device, generator) -> None`
              that assert what holds without any ground truth; their names are the test ids.
            * optionally `TOLERANCES`: {output name or dtype: (rtol, atol)} and `MATCHED_RATIO`:
              {output name or dtype: least fraction of elements inside}, where the defaults by
              dtype do not fit, with the reason in a comment beside it.
            * optionally `compare(definition, case, name, actual, expected, check) -> None` where
              equality within tolerance is not the right question; `check(actual, expected)` is the
              default comparison, and `check(actual, expected, rounding)` one with a larger absolute
              tolerance where a tensor that fits the output says so: what roundings inside right
              kernels make of each element, by the case's sizes. With a further parameter `inputs`
              it is given the case's inputs by name: where outputs are drawn at random, each of the
              two is held against what the inputs make probable.
            * optionally `figures(definition, name, value, inputs) -> torch.Tensor | None`: what an
              output stands for that no tolerance compares as it is, in numbers that a tolerance
              compares: of indices the scores of what they name, of bytes the numbers that are read
              there. Right outputs have the same figures up to rounding; an output that cannot be
              right has NaN. None for outputs that are compared as they are. Certificates are of
              figures then. `value` may hold anything, and is not changed.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    op_type: str
    source: str


@hookspec(firstresult=True)
def fibcore_op_types() -> Sequence[OpType]:  # type: ignore[empty-body]
    """Name the op types that the plugin is responsible for.

    Called once, when the registry is built. Results of all plugins are combined; two plugins that
    claim the same op type are an error.
    """


@hookspec(firstresult=True)
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:  # type: ignore[empty-body]
    """Find the plugin's kernels in a model tree.

    Called once for every model and every (TP, EP) combination. Every plugin's result is used.
    The plugin says what it recognised without having a definition (`not_covered`) and what it could
    not decide (`problems`); it never guesses. What it has no definition for gives way, in every
    report, to the kernel that another plugin has for the same module.
    """


@hookspec(firstresult=True)
def fibcore_reference(kernel: Kernel) -> Definition:  # type: ignore[empty-body]
    """Write the definition of a kernel, its reference included.

    Called for every kernel of the plugin's op types that `fibcore_extract` returned. The
    definition's name and op type are the kernel's; its tags are the kernel's (the core adds
    `model:` and `status:`).
    """


@hookspec(firstresult=True)
def fibcore_identify(definition: Definition) -> Identity:  # type: ignore[empty-body]
    """Say which function a definition computes, and whether its sizes can go together.

    Called for definitions of the plugin's op types when two are compared, imported, or checked as
    part of a dataset; many of them others wrote, so that references look different. A plugin
    without this hook stands for `Identity()`.
    """


@hookspec(firstresult=True)
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth] | None:
    """Give the implementations to compare a definition's reference with, the preferred one first.

    Called when tests are written, of every plugin and for definitions of every op type: a plugin
    can bring a kernel for an op type that another one owns, whose own ground truths come first.
    Empty or None where it has nothing for the definition. A test without any is a skip that says
    so.
    """


@hookspec(firstresult=True)
def fibcore_test_template(op_type: str) -> TestTemplate:  # type: ignore[empty-body]
    """Give the test sizes, input generator and property checks of one of the plugin's op types.

    Called when tests are written.
    """


@hookspec(firstresult=True)
def fibcore_workloads(  # type: ignore[empty-body]
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Give realistic sizes of a definition to benchmark, from small to large.

    Called by `fibcore add-workloads` for definitions of the plugin's op types. `constants` is what
    a model was found to have for constants of the kernel (`Kernel.facts`), as the definition's
    provenance records it; empty for one that fibcore did not extract. Equal arguments give equal
    cases: draw from `fibcore.plugin.generator(seed, definition.name, ...)`. The inputs hold the
    definition's constraints. NumPy may be imported inside the function. Empty where the plugin
    cannot tell what valid inputs are.
    """


@hookspec(firstresult=True)
def fibcore_cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Count the operations and bytes of one call of a definition.

    Called for definitions of the plugin's op types, others' among them. `axes` has the size of
    every var axis. `values` holds the elements of integer inputs, offsets and page numbers, where
    they are known; any of them may be missing. None where the plugin cannot tell, and without this
    hook: then every input is taken to be read whole, and no operations are counted. The functions
    `moved` and `attended` of `fibcore.plugin` help.
    """


@hookspec(firstresult=True)
def fibcore_step_sizes(kernel: Kernel, batch: StepBatch) -> Mapping[str, int]:  # type: ignore[empty-body]
    """Give sizes of var axes of a kernel in one step of a server.

    Called for kernels of the plugin's op types, where a step is weighed. Only sizes that neither
    FlashInfer's names (`batch_size`, `num_pages`, `num_tokens` and the like) nor the kernel's facts
    tell need to be given: how many keys a window or a ratio leaves of those of a sequence, for
    instance. Those that are given go before others. Empty, or without this hook, where there are
    none.
    """


@hookspec(firstresult=True)
def fibcore_implementations(definition: Definition) -> Sequence[Implementation]:  # type: ignore[empty-body]
    """Give right and wrong implementations of a definition, by which its workloads are tried.

    Called by `fibcore certify` for definitions of the plugin's op types. The reference itself,
    ground truths and an implementation that returns zeros come from the core. Right ones differ in
    the order of sums or in roundings that good kernels have; wrong ones have the mistakes that
    kernels have. Empty where the plugin does not know the definition.
    """


@hookspec(firstresult=True)
def fibcore_exports() -> Sequence[ExportFormat]:  # type: ignore[empty-body]
    """Name the formats of other tools that the plugin writes kernels in.

    Called by `fibcore export`, of every plugin. A format has the kernels of the op types that it
    names, which may be another plugin's. Those of one name, of several plugins, are one format for
    the user: what each writes are files of its own.
    """
