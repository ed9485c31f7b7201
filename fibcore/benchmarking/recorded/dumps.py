"""Reads what FlashInfer's logging wrote of the inputs of its functions.

With FLASHINFER_LOGLEVEL=10 a folder for each call lies in FLASHINFER_DUMP_DIR: `metadata.jsonl`
with the function, its signature and its scalars, and the tensors, `inputs.safetensors` where
FLASHINFER_DUMP_SAFETENSORS=1 asks for it (flashinfer-python 0.7.4, `flashinfer/api_logging.py`).
Files are read as data: pickled tensors (`inputs.pt`) are refused.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError, TraceError
from fibcore.model.dtypes import TABLE
from fibcore.model.json import decode
from fibcore.regular_files import read_text

TENSORS = "inputs.safetensors"
METADATA = "metadata.jsonl"

_DTYPES = {dtype.safetensors: dtype.name for dtype in TABLE.values() if dtype.safetensors}


@attrs.frozen
class LoggedTensor:
    """A tensor of a call, which is read when it is needed.

    Attributes:
        file: The safetensors file.
        key: Its name there.
        shape: Its sizes.
        dtype: Its dtype, as definitions call it; as safetensors does where they have none.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str

    def values(self) -> Any:
        """The tensor as a NumPy array."""
        from safetensors import safe_open

        with safe_open(self.file, framework="numpy") as tensors:
            return tensors.get_tensor(self.key)


@attrs.frozen(eq=False)
class LoggedCall:
    """A call of one of FlashInfer's functions.

    Attributes:
        folder: The folder's name.
        function: The function's qualified name.
        arguments: Parameter to scalar or `LoggedTensor`; `name[0]` for what stands in a tuple.
        instance: The wrapper that it is a method of: process and identity; None for functions.
        digest: Hash of the metadata, for the record.
    """

    folder: str
    function: str
    arguments: Mapping[str, Any]
    instance: tuple[int, int] | None
    digest: str


def read_calls(root: Path) -> Iterator[LoggedCall | TraceError]:
    """The calls in a folder of dumps in the order of time; an error for each that cannot be read.

    Raises:
        TraceError: there is no such folder, or no dump in it.
    """
    folders = sorted(path.parent for path in root.rglob(METADATA)) if root.is_dir() else []
    if not folders:
        raise TraceError(
            "no dump of inputs",
            where=str(root),
            expected=f"folders with {METADATA} and {TENSORS}, as FlashInfer's logging writes them",
            found="none" if root.is_dir() else "no such folder",
            hint="run the server with FLASHINFER_LOGLEVEL=10 FLASHINFER_DUMP_SAFETENSORS=1"
            " FLASHINFER_DUMP_DIR=DIR",
        )
    for folder in folders:
        yield _read_or_refuse(folder)


def _read_or_refuse(folder: Path) -> LoggedCall | TraceError:
    try:
        return _read(folder)
    except FibcoreError as error:
        return TraceError(error.message, where=folder.name, found=error.found, hint=error.hint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        return TraceError("not as FlashInfer writes it", where=folder.name, found=found[:200])


def _read(folder: Path) -> LoggedCall:
    text = read_text(folder / METADATA)
    data = decode(text.splitlines()[0])
    if not isinstance(data, dict):
        raise TypeError("the metadata is no object")
    tensors = _tensors(folder, data)
    given = {**data["input_metadata"], **tensors}
    arguments: dict[str, Any] = {}
    names = _parameters(str(data["function_signature"]))
    for key, value in given.items():
        name, index = _name(key, names)
        if name is not None:
            arguments[name if index is None else f"{name}[{index}]"] = value
    self_id = data.get("self_id")
    instance = None if self_id is None else (int(data["process_id"]), int(self_id))
    function = f"{data['module']}.{data['function_name']}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return LoggedCall(folder.name, function, arguments, instance, digest)


def _tensors(folder: Path, data: Mapping[str, Any]) -> dict[str, LoggedTensor]:
    """The tensors of a call by their keys, with sizes and dtypes as their file says."""
    file = folder / TENSORS
    keys = data["tensor_info"]["input_tensor_keys"]
    if not keys:
        return {}
    if not file.is_file():
        raise TraceError(
            "the tensors are not there as safetensors",
            found="inputs.pt, which is a pickle" if (folder / "inputs.pt").exists() else "no file",
            hint="log with FLASHINFER_DUMP_SAFETENSORS=1",
        )
    header = _header(file)
    return {
        key: LoggedTensor(
            file,
            key,
            tuple(header[key]["shape"]),
            _DTYPES.get(header[key]["dtype"], header[key]["dtype"]),
        )
        for key in keys
        if key in header
    }


def _header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > 1 << 24:
            raise ValueError("the header is too long")
        header = json.loads(stream.read(size))
    if not isinstance(header, dict):
        raise TypeError("the header is no object")
    return header


def _parameters(signature: str) -> list[str]:
    """Names of the positional parameters of a signature's text, in order."""
    text = re.sub(r"\s*->.*\Z", "", signature, flags=re.DOTALL)
    try:
        function = ast.parse(f"def f{text}: pass").body[0]
    except SyntaxError:
        # A default that is no expression (`<object object>`): names alone are needed.
        return re.findall(r"[(,]\s*(\w+)\s*(?=[:,=)])", text)
    assert isinstance(function, ast.FunctionDef)
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args)]


def _name(key: str, names: list[str]) -> tuple[str | None, int | None]:
    """The parameter that a key of a dump means, and the place in a tuple: `arg_2__0`, `kwarg_x`."""
    found = re.fullmatch(r"(arg_(\d+)|kwarg_(\w+?))(?:__(\d+))?", key)
    if found is None:
        return None, None
    index = None if found[4] is None else int(found[4])
    if found[3] is not None:
        return found[3], index
    position = int(found[2])
    return (names[position] if position < len(names) else None), index
