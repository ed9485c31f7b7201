"""`fibcore.shapes`: the sizes of models' kernels as plain rows; and the formats made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.exporting.serving import found_kernels
from fibcore.extraction.find import few_collections
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.keywords import api, part, several
from fibcore.model.layer_paths import group_uses
from fibcore.ops.authoring.tables import csv_text, json_text
from fibcore.ops.exports import Exported, ExportedFile, ExportRequest, ServedKernel
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

NAME = "shapes"
COLUMNS = ("model", "tp", "ep", "op_type", "definition", "layers", "sizes", "variable", "dtypes")


@attrs.frozen
class KernelShape:
    """The sizes of a kernel of a model.

    Attributes:
        model: The model's slug.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        op_type: The op type.
        definition: The definition's name.
        layers: How many modules or calls run it.
        sizes: Size of every const axis.
        variable: The axes whose size the batch decides.
        dtypes: Dtype of every input and output.
        origins: Where each size comes from: config keys, serving options, and the source line.
        paths: The modules that run it, equal layers joined.
    """

    model: str
    tp: int
    ep: int
    op_type: str
    definition: str
    layers: int
    sizes: dict[str, int]
    variable: tuple[str, ...]
    dtypes: dict[str, str]
    origins: dict[str, str]
    paths: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self)

    def row(self) -> tuple[str | int, ...]:
        """One row of `COLUMNS`."""
        return (
            *(self.model, self.tp, self.ep, self.op_type, self.definition, self.layers),
            " ".join(f"{name}={size}" for name, size in self.sizes.items()),
            " ".join(self.variable),
            " ".join(dict.fromkeys(self.dtypes.values())),
        )


@api(ModelsLaunched, options=True)
def shapes(
    model_name: str | Sequence[str] = (), **asked: Unpack[ModelsLaunched]
) -> tuple[KernelShape, ...]:
    """The sizes of the kernels of models, with where they come from; no dataset is looked at.

    Args:
        model_name: One model or several, as for `fibcore.extract`; may be left out where a launch
            line names the model.
        **asked: How the models are served, and where; see `ModelsLaunched`.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: there is no source to elaborate.
        FibcoreError: a model cannot be served like that, or not be elaborated.
    """
    workspace = Workspace.of(**part(Where, asked))
    request = Request.of_models(workspace.registry, asked)
    request.check_named(several(model_name))
    with few_collections():
        found = found_kernels(several(model_name), workspace, request)
    for refused in found.refused:
        raise refused.error
    return tuple(shape_of(served) for served in found.kernels)


def shape_of(served: ServedKernel) -> KernelShape:
    """The sizes of a kernel."""
    definition, facts = served.definition, served.kernel.facts
    sizes = definition.const_axes
    tensors = {**definition.inputs, **definition.outputs}
    return KernelShape(
        model=served.model,
        tp=served.serving.tp,
        ep=served.serving.ep,
        op_type=definition.op_type,
        definition=definition.name,
        layers=len(served.kernel.uses),
        sizes=dict(sizes),
        variable=tuple(definition.var_axes),
        dtypes={name: spec.dtype for name, spec in tensors.items()},
        origins={
            name: ", ".join((*facts[name].origins, str(facts[name].place)))
            for name in sizes
            if name in facts
        },
        paths=tuple(path for path, _, _ in group_uses(served.kernel.uses)),
    )


def write(request: ExportRequest) -> Exported:
    """All sizes as CSV and as JSON, in which sizes have columns, and their origins, as well."""
    found = [shape_of(served) for served in request.kernels]
    axes = list(dict.fromkeys(name for shape in found for name in shape.sizes))
    table = csv_text(
        ("model", "tp", "ep", "op_type", "definition", "layers", *axes, "dtypes"),
        [
            (
                *(s.model, s.tp, s.ep, s.op_type, s.definition, s.layers),
                *(s.sizes.get(axis, "") for axis in axes),
                json.dumps(s.dtypes),
            )
            for s in found
        ],
    )
    files = (
        ExportedFile("shapes.csv", table),
        ExportedFile("shapes.json", json_text([shape.to_dict() for shape in found])),
    )
    return Exported(files, COLUMNS, tuple(shape.row() for shape in found))
