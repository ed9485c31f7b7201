"""A dump of every trace template that can be made without a GPU.

Run by an interpreter that has flashinfer-python and torch: `python all_templates.py DIR`. Templates
make their own inputs; tensors are on "meta", which costs no memory, where a template can do so.
Writes why others were not made to standard error, a line each.
"""

import inspect
import sys
from typing import Any

from flashinfer.api_logging import _TRACE_REGISTRY


def templates() -> Any:
    """(function's name, template) of everything that is traced."""
    for function, template, _ in _TRACE_REGISTRY:
        for one in getattr(template, "templates", (template,)):
            yield f"{function.__module__}.{function.__qualname__}", one


def dump(name: str, template: Any, folder: str) -> None:
    """Write the dump of a template; raises whatever its inputs raise."""
    parameters = inspect.signature(template.init).parameters.values()
    sizes = {p.name: 4 for p in parameters if p.default is p.empty}
    error: Exception | None = None
    for device in ("meta", "cpu"):
        try:
            inputs = template.init(**sizes, device=device)
        except Exception as caught:  # noqa: BLE001 - whatever it raises, it goes into the output
            error = caught
            continue
        run = inputs.get("run", inputs)  # a wrapper's are those of its constructor, plan and run
        template.build_fi_trace_fn(name)(save_dir=folder, **run)
        return
    assert error is not None
    raise error


def main(folder: str) -> None:
    """Dump all templates that have inputs."""
    for name, template in templates():
        if not getattr(template, "init", None):
            continue
        try:
            dump(name, template, folder)
        except Exception as error:  # noqa: BLE001 - the others go on
            sys.stderr.write(f"{name} {template.name_prefix}: {type(error).__name__} {error}\n")


if __name__ == "__main__":
    main(sys.argv[1])
