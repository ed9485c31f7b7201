"""The contract kit accepts the plugin of docs/plugins.md and rejects plausible mistakes in it.

The plugin is taken from that page, so that what the page shows is what runs.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fibcore.errors import FibcoreError
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops import hookspecs
from fibcore.testing import contract
from fibcore.testing.constants import with_other_constants
from fibcore.testing.contract import Subject
from fibcore.testing.trees import TENSOR, call, module, tree

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```\w+ (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGE = "fibcore_op_layernorm"

FILES = {m["path"]: m["text"] for m in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}

INIT = f"{PACKAGE}/__init__.py"
REFERENCE = f"{PACKAGE}/references/layernorm.py"
TRUTH = f"{PACKAGE}/ground_truths/torch_layer_norm.py"
TEMPLATE = f"{PACKAGE}/test_template.py"

Build = Callable[..., ModuleType]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Writes the page's plugin, with changes of its text, and imports it."""

    def build(*changes: tuple[str, str, str]) -> ModuleType:
        files = dict(FILES)
        for path, old, new in changes:
            assert old in files[path], f"{path} does not hold {old!r}"
            files[path] = files[path].replace(old, new)
        for path, text in files.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(PACKAGE)

    sys.modules.pop(PACKAGE, None)
    yield build
    sys.modules.pop(PACKAGE, None)


def layer_norm(path: str, hidden_size: int, **changes: Any) -> Any:
    arguments = {"hidden_size": hidden_size, "eps": 1e-5, "elementwise_affine": True, "bias": True}
    cls = "sglang.srt.layers.layernorm.LayerNorm"
    return module(path, cls, {**arguments, **changes}, calls=[call(TENSOR)])


def model() -> ModelTree:
    names = ("second", "third", "fourth", "fifth", "sixth")
    return tree(layer_norm("first", 24), *(layer_norm(name, 40) for name in names))


def subject(plugin: ModuleType) -> Subject:
    return Subject(plugin, ((model(), Serving()),), max_cases=1)


def test_the_page_has_the_files_that_the_tests_take_from_it() -> None:
    assert {INIT, REFERENCE, TRUTH, TEMPLATE, "pyproject.toml"} < set(FILES)


def test_every_hook_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    hooks = {n: h for n, h in vars(hookspecs).items() if n.startswith("fibcore_")}
    assert len(hooks) == 11
    for name, hook in hooks.items():
        assert f"`{name}`" in page
        assert "Called " in hook.__doc__


def test_the_page_s_own_tests_pass(tmp_path: Path) -> None:
    """As its reader would run them, with pytest, in a folder of their own."""
    pytest.importorskip("torch", reason="references need torch to run")
    for path, text in FILES.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    paths = [str(tmp_path), *(str(Path(p).resolve()) for p in sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(  # noqa: S603 - the page's tests
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
            str(tmp_path / "tests"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    mistakes = FILES["tests/test_layernorm_wrong_references.py"].count("Mistake.of(")
    # And one that the right reference is accepted.
    assert f"{len(contract.CHECKS) + mistakes + 1} passed" in done.stdout


def test_every_check_is_a_test_of_the_contract_class() -> None:
    tests = [n for n in vars(contract.PluginContract) if n.startswith("test_")]
    assert len(tests) == len(contract.CHECKS)


MISTAKES: dict[str, tuple[list[tuple[str, str, str]], Callable[[Subject], None], str]] = {
    "a hook that fibcore does not know": (
        [(INIT, "def fibcore_ground_truths(", "def fibcore_ground_truth(")],
        contract.check_hooks,
        "unknown hook 'fibcore_ground_truth'",
    ),
    "a hook that is not marked": (
        [(INIT, "@hookimpl\ndef fibcore_test_template", "def fibcore_test_template")],
        contract.check_hooks,
        "does not implement fibcore_test_template",
    ),
    "a parameter that the hook does not have": (
        [(INIT, "fibcore_reference(kernel: Kernel)", "fibcore_reference(kernels: Kernel)")],
        contract.check_hooks,
        "kernels",
    ),
    "an op type that no tree has": (
        [(INIT, "return (OpType(", 'return (OpType("rope", "rotary embedding"), OpType(')],
        contract.check_op_types,
        "no tree has a kernel of rope",
    ),
    "a kernel of another op type": (
        [(INIT, 'op_type="layernorm",\n', 'op_type="norm",\n')],
        contract.check_op_types,
        "'norm' is not one of the plugin's",
    ),
    "the order of a set": (
        [
            (
                INIT,
                "for node in tree.walk():",
                "for node in map(tree.find, {n.path for n in tree.walk()}):",
            )
        ],
        contract.check_extraction_repeats,
        "does the order of a set decide",
    ),
    "state between extractions": (
        [
            (INIT, "HERE = files", "SEEN = []\nHERE = files"),
            (
                INIT,
                "    found = KernelCollector(",
                (
                    "    SEEN.append(tree)\n    if len(SEEN) > 1:\n        return Extraction()\n"
                    "    found = KernelCollector("
                ),
            ),
        ],
        contract.check_extraction_repeats,
        "keep state",
    ),
    "a heavy package in the matcher": (
        [(INIT, "from importlib.resources", "import numpy\nfrom importlib.resources")],
        contract.check_light_imports,
        "imports numpy",
    ),
    "a match by name alone": (
        [
            (INIT, 'node.is_a("sglang.srt.layers.layernorm.LayerNorm")', "True"),
            (INIT, 'node.argument("hidden_size"), node', 'node.argument("hidden_size", 8), node'),
            (INIT, 'node.argument("eps")', 'node.argument("eps", 1e-5)'),
            (INIT, 'node.argument("bias")', 'node.argument("bias", True)'),
            (INIT, 'node.argument("elementwise_affine")', 'node.argument("x", True)'),
        ],
        contract.check_nothing_found,
        "kernels out of nothing",
    ),
    "a claim on everything": (
        [
            (
                INIT,
                "    for node in tree.walk():\n",
                "    for node in tree.walk():\n        found.claim(node)\n",
            )
        ],
        contract.check_nothing_found,
        "cannot know",
    ),
    "an unknown size": (
        [(INIT, "if not isinstance(hidden, int) or not", "if not")],
        contract.check_unknown_arguments,
        "with the argument hidden_size of first unknown",
    ),
    "a size without fact": (
        [(INIT, '"hidden_size": fact(hidden, node), ', "")],
        contract.check_facts,
        "hidden_size has no fact",
    ),
    "a fact of another value": (
        [(INIT, "fact(hidden, node)", "fact(hidden + 1, node)")],
        contract.check_facts,
        "its fact says 25",
    ),
    "no description": (
        [(INIT, 'description=f"LayerNorm over', 'description="" and f"LayerNorm over')],
        contract.check_definitions,
        "no description",
    ),
    "two names for one kernel": (
        [
            (INIT, 'name=f"layernorm_h{hidden}"', 'name=f"layernorm_{node.path}_h{hidden}"'),
        ],
        contract.check_definitions,
        "layernorm_second_h40 and layernorm_third_h40 have the same tensors",
    ),
    "a name that is not the kernel's": (
        [(INIT, "name=kernel.name", 'name="layernorm"')],
        contract.check_definitions,
        "its name is 'layernorm'",
    ),
    "a package in the reference": (
        [(REFERENCE, "import torch", "import torch\nimport einops")],
        contract.check_references,
        "import einops",
    ),
    "a size that is not asserted": (
        [
            (REFERENCE, "    assert hidden_size == HIDDEN_SIZE\n", ""),
            (REFERENCE, "    assert weight.shape == bias.shape == (HIDDEN_SIZE,)\n", ""),
        ],
        contract.check_references,
        "no assertion of the reference names the size of hidden_size",
    ),
    "a constant that is not set": (
        [(INIT, '{"HIDDEN_SIZE": hidden, "EPS": eps}', '{"EPS": eps}')],
        contract.check_references,
        "hidden_size",
    ),
    "a template that needs fibcore": (
        [
            (
                TEMPLATE,
                "import torch",
                "import torch\nfrom fibcore.model.definition import Definition",
            )
        ],
        contract.check_templates,
        "fibcore",
    ),
    "a template without generator": (
        [(TEMPLATE, "case, device, generator):\n    hidden", "case, device):\n    hidden")],
        contract.check_templates,
        "make_inputs takes 3 arguments, expected 4",
    ),
    "a template without properties": (
        [(TEMPLATE, "PROPERTIES =", "PROPERTY =")],
        contract.check_templates,
        "does not define PROPERTIES",
    ),
    "a ground truth with other parameters": (
        [(TRUTH, "torch_layer_norm(hidden_states,", "torch_layer_norm(x,")],
        contract.check_ground_truths,
        "takes x, weight, bias; the inputs are hidden_states, weight, bias",
    ),
    "a ground truth without one of the inputs": (
        [(TRUTH, "hidden_states, weight, bias)", "hidden_states, weight, beta=None)")],
        contract.check_ground_truths,
        "takes hidden_states, weight, beta; the inputs are hidden_states, weight, bias",
    ),
    "a ground truth that imports a package at its top": (
        [(TRUTH, "import torch", "import flashinfer\nimport torch")],
        contract.check_ground_truths,
        "import flashinfer at the top level",
    ),
    "a ground truth without loader": (
        [(INIT, 'kind="torch"', 'kind="sglang"')],
        contract.check_ground_truths,
        "first parameter is load_sglang",
    ),
    "names that cannot be told apart": (
        [
            (
                TRUTH,
                "hidden_states, weight, bias):\n",
                "hidden_states, weight, bias):\n    global X\n",
            )
        ],
        contract.check_test_modules,
        "a part of it cannot have a scope of its own",
    ),
    "a ground truth with another entry": (
        [(INIT, 'entry="torch_layer_norm"', 'entry="layer_norm"')],
        contract.check_ground_truths,
        "no top-level 'layer_norm'",
    ),
    "a branch on a constant": (
        [
            (
                REFERENCE,
                "    return output.to(",
                "    if EPS < 0:\n        output += 1\n    return output.to(",
            )
        ],
        contract.check_idle_code,
        "`EPS < 0` is decided by constants alone",
    ),
    "a constant that nothing reads": (
        [(REFERENCE, "HIDDEN_SIZE = 64", "HIDDEN_SIZE = 64\nWITH_BIAS = True")],
        contract.check_idle_code,
        "WITH_BIAS is read by nothing",
    ),
    "a cost of more bytes than there are": (
        [
            (INIT, "    Definition,", "    Cost,\n    Definition,"),
            (
                INIT,
                "@hookimpl\ndef fibcore_test_template",
                (
                    "@hookimpl\ndef fibcore_cost(axes: Mapping[str, int]) -> Cost:\n"
                    '    return Cost(0, "float32", 1000 * axes["batch_size"] + 500, 0)\n\n\n'
                    "@hookimpl\ndef fibcore_test_template"
                ),
            ),
        ],
        contract.check_costs,
        "where inputs and outputs have",
    ),
    "a variant that reads the name": (
        [
            (INIT, "    GroundTruth,", "    GroundTruth,\n    Identity,"),
            (
                INIT,
                "@hookimpl\ndef fibcore_ground_truths",
                (
                    "@hookimpl\ndef fibcore_identify(definition: Definition) -> Identity:\n"
                    "    return Identity(definition.name)\n\n\n"
                    "@hookimpl\ndef fibcore_ground_truths"
                ),
            ),
        ],
        contract.check_variants,
        "'renamed' once it is called renamed",
    ),
    "a variant that trusts the reference": (
        [
            (INIT, "    GroundTruth,", "    GroundTruth,\n    Identity,"),
            (
                INIT,
                "@hookimpl\ndef fibcore_ground_truths",
                (
                    "@hookimpl\ndef fibcore_identify(definition: Definition) -> Identity:\n"
                    "    return Identity(definition.reference.split('EPS = ')[1][:0])\n\n\n"
                    "@hookimpl\ndef fibcore_ground_truths"
                ),
            ),
        ],
        contract.check_variants,
        "IndexError",
    ),
    "a workload without an axis": (
        [(INIT, '{"batch_size": rows}', "{}")],
        contract.check_workloads,
        "its axes are none; the var axes are batch_size",
    ),
    "workloads by chance": (
        [(INIT, "for rows in TOKENS)", "for rows in __import__('random').sample(TOKENS, 5))")],
        contract.check_workloads,
        "the same seed gives other workloads",
    ),
    "workloads with a tensor of another size": (
        [
            (
                INIT,
                '{"batch_size": rows})',
                '{"batch_size": rows}, tensors=lambda: {"bias": __import__("numpy").zeros(3)})',
            )
        ],
        contract.check_workloads,
        "bias has the shape [3]",
    ),
    "workloads for inputs that are not known": (
        [(INIT, '!= ["hidden_states", "weight", "bias"]', "== []")],
        contract.check_workloads,
        "the scalar inputs are of_another_dataset",
    ),
    "ground truths for others": (
        [(INIT, 'if definition.op_type != "layernorm":', "if False:")],
        contract.check_definitions_of_others,
        "answers for a definition of the op type op_type_of_another_plugin",
    ),
}


@pytest.mark.parametrize(
    "parameters", ["hidden_states, weight, bias, out=None", "bias, hidden_states, **others"]
)
def test_ground_truths_may_take_more(build: Build, parameters: str) -> None:
    change = (
        TRUTH,
        "torch_layer_norm(hidden_states, weight, bias)",
        f"torch_layer_norm({parameters})",
    )
    contract.check_ground_truths(subject(build(change)))


def test_ground_truths_may_have_any_names(build: Build) -> None:
    change = (TRUTH, "import torch\n", "import torch\n\n\ndef cases():\n    return []\n")
    made = subject(build(change))
    contract.check_ground_truths(made)
    contract.check_test_modules(made)


def test_definitions_with_other_constants_are_tried(build: Build) -> None:
    made = subject(build())
    first, _ = made.kernels
    (other,) = with_other_constants(made.registry, first)
    assert "EPS = 2e-05\n" in other.reference
    assert other.name == "layernorm_h24_other1"


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_rejected(build: Build, case: str) -> None:
    changes, check, message = MISTAKES[case]
    with pytest.raises((AssertionError, FibcoreError)) as caught:
        check(subject(build(*changes)))
    assert message in str(caught.value)


def test_mistakes_that_only_running_shows(build: Build) -> None:
    """One process for several references: importing torch is what costs time."""
    pytest.importorskip("torch", reason="references need torch to run")
    plugin = build(
        (REFERENCE, "    assert hidden_size == HIDDEN_SIZE\n", "    assert HIDDEN_SIZE > 0\n"),
        (REFERENCE, "== (HIDDEN_SIZE,)", "== (hidden_size,)"),
        (REFERENCE, "* weight + bias", "+ bias"),
        (REFERENCE, "    return output.to(hidden_states.dtype)", "    return output"),
    )
    with pytest.raises(AssertionError) as caught:
        contract.check_execution(subject(plugin))
    text = str(caught.value)
    for part in (
        "layernorm_h24",
        "output has another dtype",
        "accepts inputs whose axis hidden_size has another size",
        "property bias_comes_last",
    ):
        assert part in text
    assert "rows_are_normalised" not in text
