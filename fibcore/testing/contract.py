"""The contract kit: what every op-type plugin has to hold, third-party ones too.

In a plugin's tests::

    import fibcore_op_layernorm
    from fibcore.plugin import Serving
    from fibcore.testing.contract import PluginContract
    from fibcore.testing.trees import call, module, tree

    class TestContract(PluginContract):
        plugin = fibcore_op_layernorm
        trees = [(tree(module("norm", "sglang.srt.layers.layernorm.LayerNorm", ...)), Serving())]

Together the trees have to hold every op type of the plugin, in small sizes: the references run.
The checks are also functions (`check_hooks` and so on), for use without pytest classes; each takes
a `Subject` and raises `AssertionError` with what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import pytest

from fibcore.benchmarking.workloads.add import encoded
from fibcore.errors import ConfigError, FibcoreError
from fibcore.model.definition import Axis, Definition, scalar
from fibcore.model.dtypes import TABLE
from fibcore.model.serving import Serving
from fibcore.model.shapes import device_bytes
from fibcore.model.tree import ModelTree, ModuleNode, Unknown
from fibcore.ops.checks import top_level_names
from fibcore.ops.hookspecs import GroundTruth, WorkloadCase
from fibcore.references.reading import foreign_imports, unasserted_axes
from fibcore.references.running import ReferenceRunner
from fibcore.testing import trees as hand_written
from fibcore.testing.constants import with_other_constants
from fibcore.testing.emitted_sources import check_emitted, check_entry, functions, parameters_of
from fibcore.testing.fresh_process import Tree
from fibcore.testing.idle_code import idle_code
from fibcore.testing.subject import Subject, extract
from fibcore.testing.templates import load_source
from fibcore.validation.completeness import check_descriptions
from fibcore.validation.definitions import check_parallel_tags
from fibcore.verification.module_rendering import TestedDefinition, render_module

__all__ = ["CHECKS", "PluginContract", "Subject", "Tree"]

UNKNOWN_OP_TYPE = "op_type_of_another_plugin"


def check_hooks(subject: Subject) -> None:
    """Every hook implementation has a known name and known parameters, and all hooks are there."""
    registry = subject.registry  # raises where they do not conform
    assert subject.op_types, "the plugin implements no fibcore_op_types"
    have = {
        name
        for name in dir(subject.plugin)
        if hasattr(getattr(subject.plugin, name, None), "fibcore_impl")
    }
    needed = {"fibcore_extract", "fibcore_reference", "fibcore_test_template"}
    assert needed <= have, f"the plugin does not implement {', '.join(sorted(needed - have))}"
    assert registry.plugins[0].status == "active"


def check_op_types(subject: Subject) -> None:
    """Every op type occurs in the trees' kernels, and every kernel is of such an op type."""
    assert subject.trees, "give the contract trees to try the plugin on"
    found = {kernel.op_type for kernel in subject.kernels}
    missing = sorted(set(subject.op_types) - found)
    assert not missing, f"no tree has a kernel of {', '.join(missing)}: add one"


def check_extraction_repeats(subject: Subject) -> None:
    """Extraction and definitions are the same in other processes, whatever the hash seed."""
    first, *others = subject.processes
    for other in others:
        assert first["extractions"] == other["extractions"], (
            "two processes extract different things: does the order of a set decide something?"
        )
        assert first["definitions"] == other["definitions"], (
            "two processes write different definitions: does the order of a set decide something?"
        )
    again = [extract(subject.registry, tree) for tree in subject.trees]
    assert again == [extraction for _, extraction in subject.extractions], (
        "extracting again in one process gives something else: does the plugin keep state?"
    )


def check_light_imports(subject: Subject) -> None:
    """Importing the plugin, matching and writing definitions import no heavy package."""
    heavy = subject.processes[0]["heavy"]
    assert not heavy, f"extraction imports {', '.join(heavy)}: import it inside the functions"


def check_nothing_found(subject: Subject) -> None:
    """An empty model, and one of unknown modules, yields no kernel and no error."""
    unknown = hand_written.module("thing", "sglang.srt.layers.thing.ThingOfAnotherPlugin")
    for tree in (hand_written.tree(), hand_written.tree(unknown)):
        found = extract(subject.registry, (tree, Serving()))
        assert not found.kernels, f"kernels out of nothing: {found.kernels[0].name}"
        assert "thing" not in found.claimed, "the plugin claims a module that it cannot know"


def check_unknown_arguments(subject: Subject) -> None:
    """A constructor argument that elaboration could not know never makes the plugin raise.

    Each argument of each module of the trees is made `Unknown`, one at a time; the plugin has to
    report a problem or do without it. A `ConfigError` is a fair answer too.
    """
    as_before = {kernel.name: kernel for kernel in subject.kernels}
    for tree, serving in subject.trees:
        for node in tree.walk():
            for argument in node.arguments:
                changed = _with_unknown(tree, node.path, argument)
                try:
                    found = extract(subject.registry, (changed, serving))
                    for kernel in found.kernels:
                        if kernel != as_before.get(kernel.name):
                            subject.registry.reference(kernel)
                except ConfigError:
                    continue
                except FibcoreError as error:
                    raise AssertionError(
                        f"with the argument {argument} of {node.path} unknown: {error}"
                    ) from error


def check_facts(subject: Subject) -> None:
    """Every const axis has a fact with its value and its place; every kernel says who uses it."""
    for kernel, definition in zip(subject.kernels, subject.definitions, strict=True):
        for name, fact in kernel.facts.items():
            assert fact.place.line > 0 and fact.place.file, (  # noqa: PT018
                f"{kernel.name}: the fact {name} has no place"
            )
        missing = sorted(set(definition.const_axes) - set(kernel.facts))
        assert not missing, f"{kernel.name}: no fact for the const axes {', '.join(missing)}"


def check_definitions(subject: Subject) -> None:
    """Definitions survive a round trip through JSON, are described, and differ by name."""
    for definition in subject.definitions:
        text = definition.to_json()
        assert Definition.from_json(text).to_json() == text
        assert definition.description, f"{definition.name} has no description"
        problems = [str(p) for p in check_descriptions(definition, definition.name)]
        problems += [
            str(p) for p in check_parallel_tags(definition, definition.name, subject.registry)
        ]
        assert not problems, "\n".join(problems)
    by_kernel: dict[Any, str] = {}
    for definition in subject.definitions:
        key = (definition.structure(), subject.registry.variant(definition))
        other = by_kernel.setdefault(key, definition.name)
        assert other == definition.name, (
            f"{other} and {definition.name} have the same tensors and the same variant: "
            "are they one kernel, or does fibcore_identify have to tell them apart?"
        )


def check_references(subject: Subject) -> None:
    """References import nothing but torch, math and numpy and assert their const axes."""
    for definition in subject.definitions:
        foreign = foreign_imports(definition.reference)
        assert not foreign, (
            f"{definition.name}: line {foreign[0].line} of the reference: {foreign[0].what}"
        )
        missing = unasserted_axes(definition)
        assert not missing, (
            f"{definition.name}: no assertion of the reference names the size of "
            f"{', '.join(missing)}"
        )


def check_idle_code(subject: Subject) -> None:
    """References hold nothing that a reader would meet in vain; see `idle_code`."""
    for definition in subject.definitions:
        idle = idle_code(definition.reference)
        assert not idle, (
            f"{definition.name}: the reference has idle code, which `select` can leave out: "
            + "; ".join(idle)
        )


def check_execution(subject: Subject) -> None:
    """References run by themselves, on inputs of the template, and keep what is promised.

    In a process that cannot import fibcore: inputs fit the definition and its constraints and are
    the same for the same seed; outputs have the declared number, shapes and dtypes; inputs are
    not changed; a wrong size along a const axis raises; the template's properties hold.
    """
    with ReferenceRunner(timeout_s=subject.timeout_s) as runner:
        for definition in subject.definitions:
            execution = runner.run(
                definition.to_dict(),
                subject.template(definition.op_type).source,
                max_cases=subject.max_cases,
                deep=True,
                need_cases=True,
            )
            found = "\n".join(f"  {problem}" for problem in execution.problems)
            assert not execution.problems, f"{definition.name}:\n{found}"


def check_templates(subject: Subject) -> None:
    """Test templates import nothing but torch and the standard library, and have properties."""
    for op_type in subject.op_types:
        source = subject.template(op_type).source
        check_emitted(f"test template of {op_type}", source)
        assert "PROPERTIES" in top_level_names(source)
        defined = functions(source)
        for name, count in (("cases", 1), ("make_inputs", 4)):
            found = defined.get(name)
            assert found is not None, f"test template of {op_type}: no function {name}"
            have = len(parameters_of(found))
            assert have == count, (
                f"test template of {op_type}: {name} takes {have} arguments, expected {count}"
            )


def check_ground_truths(subject: Subject) -> None:
    """Ground truths parse and take the inputs by name."""
    for definition in subject.definitions:
        for truth in _ground_truths(subject, definition):
            who = f"{definition.name}: ground truth {truth.name}"
            check_entry(who, truth, definition)
            check_emitted(who, truth.source)


def check_test_modules(subject: Subject) -> None:
    """The test module of an op type holds all its definitions, with a ground truth each.

    Also those that differ from one another in a constant of the reference alone: the layers of two
    models whose epsilons differ. The names in a ground truth may be those of another.
    """
    for op_type in subject.op_types:
        own = [kernel for kernel in subject.kernels if kernel.op_type == op_type]
        definitions = [d for d in subject.definitions if d.op_type == op_type]
        for kernel in own:
            definitions += with_other_constants(subject.registry, kernel)
        tested = {d.name: TestedDefinition(_ground_truths(subject, d)) for d in definitions}
        text = render_module(op_type, subject.template(op_type), tested)
        module = load_source(text, f"tests of {op_type}")
        for name, entry in module.DEFINITIONS.items():
            found = [module.GROUND_TRUTHS[key] for key in entry["ground_truths"]]
            assert [row["name"] for row in found] == [t.name for t in tested[name].truths]
            assert all(callable(getattr(module, row["entry"])) for row in found), name


def _ground_truths(subject: Subject, definition: Definition) -> tuple[GroundTruth, ...]:
    """The ground truths of a definition; raises what the plugin raises."""
    found = subject.registry.ground_truths(definition)
    for error in found.errors:
        raise error
    return found.truths


def check_workloads(subject: Subject) -> None:
    """Workloads have different labels, fit the definition and its constraints, and repeat.

    Asked of every definition, and of one whose inputs are not what the plugin makes them. Tensors
    are made twice for one definition of each op type: large ones take most of the time.
    """
    repeated: set[str] = set()
    for definition in subject.definitions:
        first = _workloads(subject, definition)
        if first is None:
            continue  # the hook is optional
        assert first, f"{definition.name}: fibcore_workloads returned no case"
        if definition.op_type in repeated:
            again = subject.registry.workloads(definition, {}, 0) or ()
            same = [_sizes(case) for case in again] == [case[:3] for case in first]
        else:
            repeated.add(definition.op_type)
            same = _workloads(subject, definition) == first
        assert same, f"{definition.name}: the same seed gives other workloads"
        foreign = attrs.evolve(
            definition,
            inputs={**definition.inputs, "of_another_dataset": scalar("int32")},
            reference=f"def run({', '.join(definition.inputs)}, of_another_dataset):\n    pass\n",
        )
        # Raises where the plugin fails, or gives cases that lack the input.
        subject.registry.workloads(foreign, {}, 0)


def check_costs(subject: Subject) -> None:
    """A cost is asked for any sizes, and moves no more than the inputs and outputs hold.

    Asked of every definition at the sizes of its workloads, with the integer inputs known and not,
    and of one that has nothing to do.
    """
    for definition in subject.definitions:
        cases = subject.registry.workloads(definition, {}, 0) or ()
        sizes = [(dict(case.axes), case.tensors) for case in (*cases[:2], *cases[-1:])]
        nothing = {name: int(name.startswith("len_")) for name in definition.var_axes}
        for axes, tensors in (*sizes, (nothing, dict)):
            known = {
                name: array.reshape(-1).tolist()
                for name, array in tensors().items()
                if TABLE[definition.inputs[name].dtype].kind == "int"
            }
            whole = device_bytes(definition, axes)
            unknown = subject.registry.cost(definition, axes, {})
            counted = subject.registry.cost(definition, axes, known)
            for cost in (unknown, counted):
                assert cost.bytes_moved <= whole, (
                    f"{definition.name} at {axes}: {cost.bytes_moved} bytes are moved, where "
                    f"inputs and outputs have {whole}"
                )
            for name in ("flops", "bytes_moved"):
                least, found = getattr(unknown.certain, name), getattr(counted, name)
                assert least <= found, (
                    f"{definition.name} at {axes}: {name} is {found}, and {least} was certain "
                    "before integer inputs were known"
                )


def _workloads(subject: Subject, definition: Definition) -> list[Any] | None:
    """Each case as (label, axes, scalars, files of its tensors); checked as when it is written."""
    cases = subject.registry.workloads(definition, {}, 0)
    if cases is None:
        return None
    return [(*_sizes(case), encoded(definition, case)) for case in cases]


def _sizes(case: WorkloadCase) -> tuple[str, dict[str, int], dict[str, Any]]:
    return case.label, dict(case.axes), dict(case.scalars)


def check_implementations(subject: Subject) -> None:
    """Implementations import what references may, some are right and some wrong, and they repeat.

    Asked of every definition, and of one whose reference others wrote.
    """
    for definition in subject.definitions:
        found = subject.registry.implementations(definition)
        if not found:
            continue  # the hook is optional
        assert {one.right for one in found} == {True, False}, (
            f"{definition.name}: there have to be right and wrong implementations"
        )
        for one in found:
            foreign = foreign_imports(one.source)
            assert not foreign, f"{definition.name}: {one.name}: {foreign[0].what}"
            assert one.source != definition.reference, (
                f"{definition.name}: {one.name} is the reference itself"
            )
        assert subject.registry.implementations(definition) == found
        parameters = ", ".join(definition.inputs)
        reference = f"def run({parameters}):\n    pass\n"
        # Raises where the plugin cannot do without a text of its own reference.
        subject.registry.implementations(attrs.evolve(definition, reference=reference))


def check_variants(subject: Subject) -> None:
    """A variant depends on what a definition computes, not on name, words or tags.

    It is also asked of definitions that others wrote, whose references look different.
    """
    for definition in subject.definitions:
        variant = subject.registry.variant(definition)
        renamed = attrs.evolve(
            definition,
            name="renamed",
            description="other words",
            tags=("status:unverified", "model:another"),
        )
        for other in (Definition.from_json(definition.to_json()), renamed):
            found = subject.registry.variant(other)
            assert found == variant, (
                f"{definition.name}: its variant is {variant!r}, and {found!r} once it is called "
                f"{other.name}"
            )
        parameters = ", ".join(definition.inputs)
        foreign = attrs.evolve(
            definition,
            name="foreign",
            description=None,
            constraints=(),
            reference=f"def run({parameters}):\n    raise NotImplementedError\n",
        )
        subject.registry.variant(foreign)  # raises a PluginError where the plugin cannot cope


def check_contradictions(subject: Subject) -> None:
    """The plugin finds no contradiction in its own definitions, and copes with those of others."""
    for definition in subject.definitions:
        found = subject.registry.identify(definition).contradictions
        assert not found, f"{definition.name}: it contradicts itself: {'; '.join(found)}"
        bare = attrs.evolve(
            definition,
            name="foreign",
            axes={name: Axis("var") for name in definition.axes},
            constraints=(),
        )
        subject.registry.identify(bare)  # raises a PluginError where it cannot cope


def check_definitions_of_others(subject: Subject) -> None:
    """The plugin has no ground truth for an op type that it cannot know.

    The other hooks that concern an op type are asked of its owner alone.
    """
    definition = Definition.from_dict(
        {
            "name": f"{UNKNOWN_OP_TYPE}_n8",
            "op_type": UNKNOWN_OP_TYPE,
            "tags": [],
            "axes": {"m": {"type": "var"}, "n": {"type": "const", "value": 8}},
            "inputs": {"x": {"shape": ["m", "n"], "dtype": "bfloat16"}},
            "outputs": {"y": {"shape": ["m", "n"], "dtype": "bfloat16"}},
            "reference": "def run(x):\n    return x\n",
        }
    )
    others = [definition]
    others += [attrs.evolve(d, op_type=UNKNOWN_OP_TYPE) for d in subject.definitions]
    for other in others:
        found = _ground_truths(subject, other)
        assert not found, (
            f"fibcore_ground_truths answers for a definition of the op type {UNKNOWN_OP_TYPE}: "
            f"{found[0].name}"
        )


CHECKS = (
    check_hooks,
    check_op_types,
    check_extraction_repeats,
    check_light_imports,
    check_nothing_found,
    check_unknown_arguments,
    check_facts,
    check_definitions,
    check_references,
    check_idle_code,
    check_execution,
    check_templates,
    check_ground_truths,
    check_test_modules,
    check_workloads,
    check_costs,
    check_implementations,
    check_variants,
    check_contradictions,
    check_definitions_of_others,
)
"""All checks, for those who run them without a test class."""


class PluginContract:
    """Base of a test class that holds a plugin to the contract; see the module's docstring.

    Attributes:
        plugin: The plugin: a module or an object.
        trees: Model trees with serving sizes, in which every op type of the plugin occurs.
        max_cases: On how many of a definition's test cases its reference runs.
        timeout_s: Seconds that all checks of one reference may take together.
    """

    plugin: ClassVar[object]
    trees: ClassVar[Sequence[Tree]]
    max_cases: ClassVar[int] = 3
    timeout_s: ClassVar[float] = 120.0
    _subject: ClassVar[Subject]

    @pytest.fixture
    def subject(self) -> Subject:
        """What the checks are about; one for the whole class, since it keeps what hooks said."""
        cls = type(self)
        if "_subject" not in vars(cls):
            cls._subject = Subject(cls.plugin, tuple(cls.trees), cls.max_cases, cls.timeout_s)
        return cls._subject

    def test_hooks_conform(self, subject: Subject) -> None:
        """See `check_hooks`."""
        check_hooks(subject)

    def test_every_op_type_is_found(self, subject: Subject) -> None:
        """See `check_op_types`."""
        check_op_types(subject)

    def test_extraction_repeats(self, subject: Subject) -> None:
        """See `check_extraction_repeats`."""
        check_extraction_repeats(subject)

    def test_imports_are_light(self, subject: Subject) -> None:
        """See `check_light_imports`."""
        check_light_imports(subject)

    def test_nothing_is_found_in_nothing(self, subject: Subject) -> None:
        """See `check_nothing_found`."""
        check_nothing_found(subject)

    def test_unknown_arguments_are_reported(self, subject: Subject) -> None:
        """See `check_unknown_arguments`."""
        check_unknown_arguments(subject)

    def test_every_const_axis_has_a_fact(self, subject: Subject) -> None:
        """See `check_facts`."""
        check_facts(subject)

    def test_definitions_are_whole(self, subject: Subject) -> None:
        """See `check_definitions`."""
        check_definitions(subject)

    def test_references_stand_alone(self, subject: Subject) -> None:
        """See `check_references`."""
        check_references(subject)

    def test_references_have_no_idle_code(self, subject: Subject) -> None:
        """See `check_idle_code`."""
        check_idle_code(subject)

    def test_references_run(self, subject: Subject) -> None:
        """See `check_execution`."""
        pytest.importorskip("torch", reason="references need torch to run")
        check_execution(subject)

    def test_templates_are_whole(self, subject: Subject) -> None:
        """See `check_templates`."""
        check_templates(subject)

    def test_test_modules_hold_all_definitions(self, subject: Subject) -> None:
        """See `check_test_modules`."""
        pytest.importorskip("torch", reason="test modules need torch")
        check_test_modules(subject)

    def test_ground_truths_fit(self, subject: Subject) -> None:
        """See `check_ground_truths`."""
        check_ground_truths(subject)

    def test_workloads_fit(self, subject: Subject) -> None:
        """See `check_workloads`."""
        check_workloads(subject)

    def test_costs_are_counted(self, subject: Subject) -> None:
        """See `check_costs`."""
        check_costs(subject)

    def test_implementations_fit(self, subject: Subject) -> None:
        """See `check_implementations`."""
        check_implementations(subject)

    def test_variants_are_stable(self, subject: Subject) -> None:
        """See `check_variants`."""
        check_variants(subject)

    def test_own_definitions_do_not_contradict_themselves(self, subject: Subject) -> None:
        """See `check_contradictions`."""
        check_contradictions(subject)

    def test_definitions_of_others_are_left_alone(self, subject: Subject) -> None:
        """See `check_definitions_of_others`."""
        check_definitions_of_others(subject)


def _with_unknown(tree: ModelTree, path: str, argument: str) -> ModelTree:
    """The tree with one constructor argument made unknown."""

    def changed(node: ModuleNode) -> ModuleNode:
        arguments = dict(node.arguments)
        if node.path == path:
            arguments[argument] = Unknown("made unknown by the contract", node.place)
        children = {name: changed(child) for name, child in node.children.items()}
        return attrs.evolve(node, arguments=arguments, children=children)

    return attrs.evolve(tree, root=changed(tree.root))
