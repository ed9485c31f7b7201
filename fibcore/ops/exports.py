"""Formats of other tools into which kernels are exported: what plugins give and are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel
from fibcore.model.options import OptionValue
from fibcore.model.serving import Serving

FORMAT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What formats are called: `sglang-moe`."""


@attrs.frozen
class ServedKernel:
    """A kernel of a model that is served in one way.

    Attributes:
        model: The model's slug.
        serving: How it is served.
        kernel: The kernel, with the layers that run it.
        definition: Its definition.
    """

    model: str
    serving: Serving
    kernel: Kernel
    definition: Definition


@attrs.frozen
class Device:
    """A GPU that a tuner may run on.

    Attributes:
        name: What it is called here: "H100".
        reported: What its driver calls it, as `torch.cuda.get_device_name()` does:
            "NVIDIA H100 80GB HBM3".
    """

    name: str
    reported: str


@attrs.frozen
class ExportRequest:
    """What is to be written in a format.

    Attributes:
        kernels: The kernels of the format's op types, model by model.
        rows: The rows (tokens) at which a shape is wanted.
        devices: The GPUs that are meant.
        shipped: Names of the tuned configs that the consumer's source holds; None where no source
            with any is at hand, so that nothing can be said of what it lacks.
    """

    kernels: Sequence[ServedKernel]
    rows: Sequence[int]
    devices: Sequence[Device]
    shipped: frozenset[str] | None = None


@attrs.frozen
class ExportedFile:
    """A file in a format.

    Attributes:
        path: Its path below the folder of the export.
        text: What it holds.
        data: What it holds in place of a text, where it is no text.
    """

    path: str
    text: str = ""
    data: bytes | None = None


@attrs.frozen
class Exported:
    """What a plugin writes in a format.

    Attributes:
        files: The files.
        columns: Names of what `rows` has.
        rows: What people look at: one row for a shape or a key.
        left_out: Kernels that the format cannot have, by name, with the reason.
        gaps: Keys that the consumer looks for and its source does not hold.
    """

    files: tuple[ExportedFile, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | int, ...], ...] = ()
    left_out: Mapping[str, str] = attrs.field(factory=dict)
    gaps: tuple[str, ...] = ()


@attrs.frozen
class ExportFormat:
    """A format that a plugin writes kernels in.

    Plugins may share one, by its name: each writes its own op types into files of its own.

    Attributes:
        name: What it is called: `aiter`.
        description: A line for people.
        op_types: The op types whose kernels it has.
        write: Writes kernels of these op types.
        options: Values of declared options at which the kernels are looked for, where they are not
            the user's to choose: shapes of one rank.
        consumer: The package whose source holds files in the format; "" where none does. That of
            SGLang is at hand, others' are looked for where the user says.
    """

    name: str
    description: str
    op_types: tuple[str, ...]
    write: Callable[[ExportRequest], Exported]
    options: Mapping[str, OptionValue] = attrs.field(factory=dict)
    consumer: str = ""
