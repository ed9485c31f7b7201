"""The config object that the source sees, and what every config of transformers can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from fibcore.elaborate.python.values import ABSENT, Class, Ext, Namespace, Native
from fibcore.model.tree import OriginStr, Unknown, origins_of, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where a config of several models keeps the one of its language model."""


class Reads(Protocol):
    """Notes what is read of configs."""

    def note(self, name: str, value: Any) -> None:
        """Note that an attribute was read, and its value."""


class ConfigObject(Namespace):
    """A config: attributes by name, and the class that they are defaults of.

    Args:
        name: What errors call it, `config` or `config.text_config`.
        cls: Its class, where the source tree defines it; None for one of transformers.
        classes: Names of all classes that it is an instance of.
        renamed: Other names of its attributes.
        missing: Gives an attribute that is not among the values; ABSENT where there is none.
        class_name: The name of its class.
        release: The release that defines the class, `transformers 4.57.1`; "" where not known.
        reads: Where it is noted what is read of it.

    Attributes:
        base: What transformers' base class gives it, where it stands for an object of the file that
            has no class: one that code of the checkpoint's repository may have left a dict.
    """

    __slots__ = ("base", "class_name", "cls", "missing", "reads", "release", "renamed")
    is_mapping = True

    def __init__(
        self,
        name: str,
        *,
        cls: Class | None,
        classes: Iterable[str],
        renamed: dict[str, str],
        missing: Callable[[ConfigObject, str], Any],
        class_name: str,
        release: str,
        reads: Reads,
    ) -> None:
        super().__init__(name, {}, self._fallback)
        self.cls = cls
        self.classes = frozenset(c.lower() for c in classes)
        self.renamed = renamed
        self.missing = missing
        self.class_name = class_name
        self.release = release
        self.reads = reads
        self.base: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """Its class as reports name it, `LlamaConfig (transformers 4.57.1)`."""
        return self._labelled(self.class_name)

    def _labelled(self, name: str) -> str:
        return f"{name} ({self.release})" if self.release else name

    def key(self, name: str) -> str:
        """The name under which an attribute is kept."""
        return self.renamed.get(name, name)

    def copy(self, values: dict[str, Any]) -> ConfigObject:
        """The same config with other values."""
        new = ConfigObject(
            self.name,
            cls=self.cls,
            classes=self.classes or (),
            renamed=self.renamed,
            missing=self.missing,
            class_name=self.class_name,
            release=self.release,
            reads=self.reads,
        )
        new.values = values
        return new

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        found = super().find_attr(ev, name, place)
        self.reads.note(name, found)
        return found

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        found = super().get_item(ev, key, place)
        self.reads.note(str(key), found)
        return found

    def default(self, name: str, value: Any, *, derived: bool = False) -> Any:
        """A value of the class, with that as its origin.

        Args:
            name: The attribute.
            value: Its value; parts that have origins keep them alone, unless they are `derived`.
            derived: Whether the class computed it, so that it is an origin beside others.
        """
        own = frozenset((f"default:{self._labelled(f'{self.class_name}.{name}')}",))
        if derived and (known := origins_of(value)):
            return with_origins(value, known | own)
        return tagged(value, own)

    def _fallback(self, name: str) -> Any:
        kept = self.key(name)
        if kept in self.values:
            return self.values[kept]
        if name == "__class__":
            # Only its name is asked for.
            return self.cls or Ext(f"transformers.{self.class_name}")
        if name == "_attn_implementation":  # a property of every config
            return Unknown("the attention implementation that transformers would choose")
        method = _METHODS.get(name)
        if method is not None:
            return Native(name, lambda ev, args, kwargs, place: method(self, args, kwargs, ev))
        return self.missing(self, kept)


def tagged(value: Any, origins: frozenset[str]) -> Any:
    """A value whose numbers and words carry origins; those that have some keep them."""
    if isinstance(value, (list, tuple)):
        return type(value)(tagged(v, origins) for v in value)
    if isinstance(value, dict):
        return {k: tagged(v, origins) for k, v in value.items()}
    return value if origins_of(value) else with_origins(value, origins)


def from_file(value: Any, path: str, origins: Mapping[str, str] | None = None) -> Any:
    """Data of a config file, with the place of each value in it as its origin.

    Args:
        value: The data.
        path: Its dotted path in the file; "" for the whole.
        origins: The origins of values that the file has under other names, by path.
    """
    known = origins or {}
    if isinstance(value, dict):
        # A quantisation config may name tens of thousands of layers here.
        above = f"{path}." if path else ""
        return {k: from_file(v, f"{above}{k}", known) for k, v in value.items()}
    if isinstance(value, list):
        return [from_file(v, path, known) for v in value]
    origin = frozenset((known.get(path, f"config:{path}"),))
    if type(value) is not str:
        return with_origins(value, origin)
    marked = OriginStr(value)
    marked.origins = origin
    return marked


def text_config(config: ConfigObject, order: Iterable[str] = TEXT_CONFIGS) -> ConfigObject | None:
    """The config of the language model inside of one of several models; None without one."""
    for key in order:
        inner = config.values.get(key)
        if isinstance(inner, ConfigObject):
            deeper = inner.values.get("text_config")
            if key == "thinker_config" and isinstance(deeper, ConfigObject):
                return deeper
            return inner
    return None


def plain(value: Any) -> Any:
    """A config as nested dicts."""
    if isinstance(value, ConfigObject):
        base = value.base
        return {k: plain(v) for k, v in value.values.items() if k not in base or v is not base[k]}
    return value


def _get_text_config(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    return text_config(config) or config


def _to_dict(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    return plain(config)


def _update(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    for key, value in (args[0] if args and isinstance(args[0], dict) else {}).items():
        ev.writes.put(config.values, config.key(key), value)


def _get(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    found = config.values.get(args[0], ABSENT)
    config.reads.note(str(args[0]), found)
    if found is ABSENT:
        return args[1] if len(args) > 1 else kwargs.get("default")
    return found


def _keys(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    return list(config.values)


def _items(config: ConfigObject, args: Any, kwargs: Any, ev: Any) -> Any:
    return list(config.values.items())


_METHODS: dict[str, Callable[..., Any]] = {
    "get_text_config": _get_text_config,
    "to_dict": _to_dict,
    "to_diff_dict": _to_dict,
    "update": _update,
    # A nested config that no class turned into an object is a dict for the source.
    "get": _get,
    "keys": _keys,
    "items": _items,
}
