"""A model's config: `config.json` from a file or the Hub, parsed and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.configs import mistral
from fibcore.configs.checks import check_config
from fibcore.configs.quantization import SECTIONS
from fibcore.errors import ConfigError
from fibcore.keywords import user_path
from fibcore.model.json import JsonError, decode
from fibcore.regular_files import is_there, read_text

MAX_BYTES = 16 * 2**20
QUANT_FILE = "hf_quant_config.json"


@attrs.frozen
class ModelConfig:
    """The `config.json` of a model.

    Attributes:
        slug: The model's name in tags and reports, `llama-3.1-8b`.
        hub_id: Its Hub id, None where it has none.
        data: The parsed config.json, nested objects as dicts.
        origin: Where the data is from: `file:PATH`, `hub:ID@COMMIT`, `catalogue:SLUG`, or `given`.
        notes: What the user should know about it.
        origins: Where values came from that the file has under other names, by dotted path:
            `text_config.hidden_size` to `params.json:dim`. Any other is `config:` and its path.
    """

    slug: str
    hub_id: str | None
    data: Mapping[str, Any]
    origin: str
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def architecture(self) -> str:
        """The model class, the first of `architectures`.

        Raises:
            ConfigError: the config names none.
        """
        names = self.data.get("architectures")
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise ConfigError(
                "a needed key is missing",
                where=f"{self.origin}: architectures",
                expected='a list with the model class, such as ["LlamaForCausalLM"]',
                found=repr(names),
            )
        return names[0]


def load_config_file(path: str | Path, slug: str) -> ModelConfig:
    """Read a `config.json`, or the one in a checkpoint's folder; Mistral's `params.json` likewise.

    Where the config says nothing of quantisation and an `hf_quant_config.json` (which NVIDIA's
    ModelOpt writes) lies beside it, that becomes the `quantization_config`.

    Args:
        path: The file, or a folder that holds config.json or params.json.
        slug: The model's name in tags and reports.

    Raises:
        ConfigError: cannot be read, is not JSON, or holds what cannot be.
    """
    path = user_path(path, "--config")
    if path.is_dir():
        path = _in_folder(path)
    read = read_config(path, path.with_name(QUANT_FILE))
    return ModelConfig(slug, None, read.data, f"file:{path}", read.notes, read.origins)


def _in_folder(folder: Path) -> Path:
    """The config of a checkpoint: the one that SGLang reads, where there are two."""
    own, params = folder / "config.json", folder / mistral.FILE
    if params.is_file() and (not own.is_file() or mistral.wants_params(folder.name)):
        return params
    return own


@attrs.frozen
class ReadConfig:
    """The content of a config file.

    Attributes:
        data: It, in the form of config.json.
        notes: What the user should know about it.
        origins: Where keys came from that the file has under other names; see `ModelConfig`.
    """

    data: dict[str, Any]
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = attrs.field(factory=dict)


def read_config(path: Path, quant_path: Path | None = None, name: str | None = None) -> ReadConfig:
    """The checked content of a config file; see `load_config_file`.

    Args:
        path: The file.
        quant_path: Where an hf_quant_config.json may be.
        name: The checkpoint's name; by default its path.

    Raises:
        ConfigError: cannot be read, is not JSON, or holds what cannot be.
    """
    data = read_json_object(path)
    # What is there and is no file is an error: else the model would be taken as not quantised.
    if not says_quantization(data) and quant_path is not None and is_there(quant_path):
        data["quantization_config"] = modelopt_quantization(quant_path)
    return checked_config(data, str(path), name or str(path.parent))


def says_quantization(data: Mapping[str, Any]) -> bool:
    """Whether a config says itself how its weights are quantised; null says nothing."""
    own = (mistral.QUANTIZATION,) if mistral.is_params(data) else SECTIONS
    return any(data.get(key) is not None for key in own)


def checked_config(data: dict[str, Any], where: str, name: str) -> ReadConfig:
    """A parsed config, checked, in the form of config.json.

    Args:
        data: The content of a config.json or params.json.
        where: What it is, for errors.
        name: The checkpoint's name or path.

    Raises:
        ConfigError: it holds what cannot be.
    """
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = {}
    if mistral.is_params(data):
        translated = mistral.translate(data, name, where)
        data, notes, origins = translated.data, translated.notes, translated.origins
    check_config(data, where)
    return ReadConfig(data, notes, origins)


def modelopt_quantization(path: Path) -> dict[str, Any] | None:
    """Convert an `hf_quant_config.json` to the form that newer checkpoints have in config.json.

    That form has the keys of `quantization` at the top, `quant_method` "modelopt", and the modules
    that stay as they are under `ignore` instead of `exclude_modules`.

    Returns:
        The section; None where no algorithm is named, which is for weights as they are.

    Raises:
        ConfigError: not such a file.
    """
    data = read_json_object(path)
    inner = data.get("quantization", data)
    if not isinstance(inner, dict) or not isinstance(inner.get("quant_algo", 0), (str, type(None))):
        raise ConfigError(
            "not a quantisation config",
            where=f"{path}: quantization",
            expected='an object with "quant_algo"',
            found=repr(inner)[:80],
        )
    if inner["quant_algo"] is None:
        return None
    result = {k: v for k, v in inner.items() if k != "exclude_modules"}
    result["quant_method"] = "modelopt"
    if "exclude_modules" in inner:
        result["ignore"] = inner["exclude_modules"]
    if isinstance(data.get("producer"), dict):
        result["producer"] = data["producer"]
    return result


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigError: no such file, too large, not UTF-8, not JSON (with line and column), or not
            an object.
    """
    try:
        text = read_text(path, MAX_BYTES, encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            "the config cannot be read",
            where=str(path),
            expected=f"a config.json of at most {MAX_BYTES} bytes, or a folder that holds one",
            found=error.strerror or str(error),
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", where=str(path), found=str(error)) from error
    try:
        data = decode(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            "not JSON",
            where=f"{path} line {error.lineno} column {error.colno}",
            expected="a JSON object",
            found=error.msg,
        ) from error
    except JsonError as error:
        where = f"{path}: {error.place[1:]}" if error.place else str(path)
        raise ConfigError(error.message, where=where, found=error.found) from error
    if not isinstance(data, dict):
        raise ConfigError(
            "not a model's config",
            where=str(path),
            expected="a JSON object",
            found=type(data).__name__,
        )
    return data
