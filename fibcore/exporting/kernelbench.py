"""KernelBench's modules: `Model`, `get_inputs` and `get_init_inputs`, made of references."""

from __future__ import annotations

import attrs

from fibcore.errors import FibcoreError, PluginError
from fibcore.model.definition import Definition
from fibcore.ops.exports import Exported, ExportedFile, ExportRequest
from fibcore.ops.registry import Registry
from fibcore.syntax import literal
from fibcore.verification.enclosing import enclosed, mark, scoped
from fibcore.verification.joining import Joiner, Part

NAME = "kernelbench"


@attrs.frozen
class KernelBench:
    """Writes one module for each definition.

    Attributes:
        registry: The plugins, which have the inputs of their definitions.
    """

    registry: Registry

    def write(self, request: ExportRequest) -> Exported:
        """A module for every definition, each once, below a folder for its op type."""
        files: dict[str, ExportedFile] = {}
        left_out: dict[str, str] = {}
        for served in request.kernels:
            definition = served.definition
            if definition.name in files or definition.name in left_out:
                continue
            try:
                text = self.module(definition)
            except FibcoreError as error:
                left_out[definition.name] = error.summary
            else:
                path = f"{definition.op_type}/{definition.name}.py"
                files[definition.name] = ExportedFile(path, text)
        rows = tuple((name, file.path) for name, file in files.items())
        return Exported(tuple(files.values()), ("definition", "file"), rows, left_out)

    def module(self, definition: Definition) -> str:
        """The module of a definition; it needs torch alone.

        Raises:
            FibcoreError: its plugin has no inputs for it, or a source that cannot be joined.
        """
        template = self.registry.test_template(definition.op_type)
        if template is None:
            raise PluginError("its plugin does not make inputs", where=definition.name)
        joiner = Joiner("a KernelBench module", definition.name, PluginError)
        reference, run = _part(joiner, definition.reference, "Reference", ("run",))
        inputs, made = _part(joiner, template.source, "Inputs", ("cases", "make_inputs"))
        data = literal(definition.to_dict(), len("DEFINITION = "), 0)
        lines = joiner.merge_imports([reference, inputs]).strip("\n")
        return (
            f'"""{definition.name} as a problem of KernelBench."""\n\n{lines}\n\n'.lstrip("\n")
            + "import torch\n\n"
            f"DEFINITION = {data}\n"
            "CASE = -1  # which of the sizes, from small to large\n\n\n"
            f"{reference.section()}\n\n{inputs.section()}\n\n"
            f"{_MODEL.format(run=run[0], cases=made[0], make_inputs=made[1])}"
        )


_MODEL = '''\
class Model(torch.nn.Module):
    """The reference of the definition, without state."""

    def forward(self, *inputs):
        """The outputs in order; of one output the tensor itself."""
        return {run}(*inputs)


def get_inputs():
    """The inputs in order, of the size `CASE`; equal every time."""
    generator = torch.Generator().manual_seed(0)
    case = {cases}(DEFINITION)[CASE]
    made = {make_inputs}(DEFINITION, case, torch.device("cpu"), generator)
    return [made[name] for name in DEFINITION["inputs"]]


def get_init_inputs():
    """Nothing: sizes are constants."""
    return []
'''


def _part(
    joiner: Joiner, source: str, title: str, entries: tuple[str, ...]
) -> tuple[Part, tuple[str, ...]]:
    """A source in a scope of its own, and what its entries are called there."""
    suffix = mark(source)
    part = enclosed(joiner.take_apart(source, title), entries, suffix, joiner)
    return part, tuple(scoped(entry, suffix) for entry in entries)
