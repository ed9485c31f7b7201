"""Defaults of config classes, from the classes' own source text.

`config.json` leaves out what its class would default. The classes live in SGLang (`srt/configs`)
and in `transformers`; both are elaborated like any other source, with the file's values as
arguments, so that computed attributes (`layer_types`, `head_dim`) come out as the class computes
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.environment import Environment
from fibcore.elaborate.index import SourceIndex
from fibcore.elaborate.shims import SHIMS
from fibcore.elaborate.values import ABSENT, Class, Func, Namespace, Obj, Raised
from fibcore.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.evaluator import Evaluator
    from fibcore.sources.tree import SourceTree

_MODEL_TYPE = re.compile(r"^\s+model_type(?:\s*:[^=\n]+)?\s*=\s*[\"']([\w.-]+)[\"']", re.MULTILINE)


_ROPE = ("rope_parameters", "rope_scaling", "rope_theta")


class ConfigClasses:
    """The config classes of one source tree, by model type.

    Args:
        evaluator: Elaborates the tree that holds them.
        folders: Where they are, below the package: `srt/configs`, `models`.
        pattern: Which files hold them.
    """

    def __init__(self, evaluator: Evaluator, folder: str, pattern: str) -> None:
        self.ev = evaluator
        self._folder = folder
        self._pattern = pattern
        self._classes: dict[str, tuple[str, str] | None] = {}
        self._made: dict[int, Obj | None] = {}

    def instance(self, model_type: str, values: Mapping[str, Any]) -> Obj | None:
        """The config object that the class makes of a file's values; None without a class."""
        if id(values) not in self._made:
            self._made[id(values)] = self._instance(model_type, values)
        return self._made[id(values)]

    def attribute(self, obj: Obj, name: str) -> Any:
        """What the object holds or computes under a name; ABSENT where its class gives nothing."""
        found = self._read(obj, name)
        if found is ABSENT and isinstance(obj.cls, Class):
            # transformers lets a config answer to other names: hidden_size for n_embd.
            renamed = self.ev.class_attr(obj.cls, "attribute_map")
            if isinstance(renamed, dict) and name in renamed:
                return self._read(obj, renamed[name])
        if name in _ROPE and (found is ABSENT or found is None):
            return self._rope(obj, name)
        return found

    def _read(self, obj: Obj, name: str) -> Any:
        found = self.ev.find_attr(obj, name, obj.place or SourcePlace("", 1))
        if isinstance(found, Unknown) and "perhaps of a base class" in found.reason:
            return ABSENT
        return found

    def _rope(self, obj: Obj, name: str) -> Any:
        """RoPE settings of a class that leaves them to transformers 5's base class.

        There `rope_parameters` of a class that declares it and is given none holds the class's
        `default_theta`, else 10000, and `rope_scaling` is another name of it
        (transformers.modeling_rope_utils.RotaryEmbeddingConfigMixin).
        """
        given = obj.attrs.get("rope_parameters", ABSENT)
        if given is ABSENT:
            return ABSENT
        if given is None:
            theta = self._read(obj, "default_theta")
            if isinstance(theta, dict):
                kinds = {"full_attention": "global", "sliding_attention": "local"}
                given = {
                    layer: {"rope_theta": theta[kind], "rope_type": "default"}
                    for layer, kind in kinds.items()
                    if kind in theta
                }
            else:
                number = theta if isinstance(theta, (int, float)) else 10000.0
                given = {"rope_theta": number, "rope_type": "default"}
        if name == "rope_theta":
            return given.get("rope_theta", ABSENT) if isinstance(given, dict) else ABSENT
        return given

    def _instance(self, model_type: str, values: Mapping[str, Any]) -> Obj | None:
        where = self._find(model_type)
        space = None if where is None else self.ev.space(where[0])
        cls = None if where is None or space is None else self.ev.module_name(space, where[1])
        if not isinstance(cls, Class):
            return None
        given = {k: v for k, v in values.items() if k[0] != "\0"}
        obj = Obj(cls, cls.place)
        try:
            self._initialise(obj, cls, given)
        except Raised as error:
            self.ev.notes.append(
                Unknown(
                    f"config class {cls.name} raised {error.kind}: {error.message}", error.place
                )
            )
        for key, value in given.items():
            # The file's word stands, unless the class made an object of it.
            if not isinstance(obj.attrs.get(key), (Obj, Namespace)):
                obj.attrs[key] = value
        return obj

    def _initialise(self, obj: Obj, cls: Class, given: dict[str, Any]) -> None:
        init = self.ev.class_attr(cls, "__init__")
        if isinstance(init, Func):
            spec = init.node.args
            names = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
            accepted = {k: v for k, v in given.items() if k in names or spec.kwarg is not None}
            obj.attrs.update(given)
            self.ev.call_function(init, [obj], accepted, cls.place)
            return
        fields = self.ev.record_fields(cls) or {}
        for name, source in fields.items():
            if name in given:
                obj.attrs[name] = given[name]
            elif source is not ABSENT:
                obj.attrs[name] = self.ev.field_default(source, cls.place)
        extra = {k: v for k, v in given.items() if k not in fields}
        convert = self.ev.class_attr(cls, "convert_rope_params_to_dict")
        if isinstance(convert, Func) and "rope_parameters" in fields:
            self.ev.call_function(convert, [obj], dict(extra), cls.place)
        post = self.ev.class_attr(cls, "__post_init__")
        if isinstance(post, Func):
            spec = post.node.args
            self.ev.call_function(post, [obj], extra if spec.kwarg is not None else {}, cls.place)

    def _find(self, model_type: str) -> tuple[str, str] | None:
        """Module and name of the class of a model type; files that do not name it stay unread."""
        if model_type not in self._classes:
            self._classes[model_type] = self._search(model_type)
        return self._classes[model_type]

    def _search(self, model_type: str) -> tuple[str, str] | None:
        root = self.ev.index.root
        quoted = (f'"{model_type}"', f"'{model_type}'")
        for path in sorted((root / self._folder).glob(self._pattern)):
            relative = path.relative_to(root).with_suffix("")
            module = self.ev.index.module(".".join([self.ev.index.package, *relative.parts]))
            if module is None or not any(q in module.text for q in quoted):
                continue
            for statement in module.statements:
                if statement.names is None:
                    continue
                match = _MODEL_TYPE.search(statement.text)
                if match and match.group(1) == model_type:
                    (name,) = statement.names
                    return module.name, name
        return None


def transformers_classes(source: SourceTree, like: Environment) -> ConfigClasses:
    """The config classes of a transformers source tree."""
    from fibcore.elaborate.evaluator import Evaluator

    environment = Environment(like.serving, like.version, SHIMS)
    environment.opaque.update(
        {
            "transformers.configuration_utils",
            "transformers.modeling_rope_utils",
            "transformers.utils",
            "transformers.utils.logging",
        }
    )
    index = SourceIndex(source.root, "transformers")
    return ConfigClasses(Evaluator(index, environment), "models", "*/configuration_*.py")
