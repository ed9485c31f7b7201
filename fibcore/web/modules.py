"""A model's modules as the site shows them: unique names, parents, counts, definitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from fibcore.extraction.hierarchy import ModuleRow
from fibcore.model.layer_paths import numbers_in

Counts = Literal["model", "parent"]

_WORD = re.compile(r"[A-Z]+(?![a-z0-9])|[A-Z][a-z0-9]*|[^A-Z]+")
_LONGEST_RANGE = 24


@attrs.frozen
class WebModule:
    """One module of a site's entry.

    Attributes:
        name: Its key, unique in the model.
        count: How many there are, in the model or in each of its parents.
        parent: The key of the module that holds it; None for the model itself.
        type: "layer" where nothing is below it, else "block".
        definitions: Names of the definitions of the kernels that it runs.
    """

    name: str
    count: int
    parent: str | None
    type: Literal["block", "layer"]
    definitions: tuple[str, ...] = ()


@attrs.define(eq=False)
class _Node:
    """A row with its place in the tree.

    A group stands for numbered modules of a container (`layers.[0-2]`) and is labelled with their
    class; every other module is labelled with its attribute's name. The tag tells groups of one
    class apart.
    """

    label: str
    cls: str
    count: int
    parent: _Node | None
    part: str
    numbers: frozenset[int] | None = None
    tag: str = ""
    children: list[_Node] = attrs.field(factory=list)
    definitions: dict[str, None] = attrs.field(factory=dict)

    @property
    def container(self) -> bool:
        """Whether it only holds numbered modules, which then stand in its place."""
        below = bool(self.children) and all(c.numbers is not None for c in self.children)
        return below and self.parent is not None and not self.definitions

    def walk(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def above(self) -> Iterator[_Node]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def web_modules(
    architecture: str,
    rows: Sequence[ModuleRow],
    definitions: Mapping[str, Iterable[str]],
    *,
    counts: Counts = "model",
) -> tuple[tuple[WebModule, ...], tuple[str, ...]]:
    """The modules of a model, parents first.

    Containers (a ModuleList) give way to what they hold. Repeated modules that differ in their
    submodules are modules of their own (dense and MoE layers); those that differ in a definition
    alone (the first norm of a model) are one, with the definitions of all.

    Args:
        architecture: The class of the model itself.
        rows: Its modules, as `fibcore.hierarchy` gives them.
        definitions: Definition name to the paths of the modules that run it.
        counts: "model" counts the modules of the whole model, "parent" those in each parent.

    Returns:
        The modules, and the paths of `definitions` that are no module of the model; their
        definitions are with the nearest module above.
    """
    root = _tree(architecture, rows)
    astray = []
    for name, paths in definitions.items():
        for path in paths:
            node, found = _find(root, path)
            node.definitions[name] = None
            if not found:
                astray.append(path)
    for node in root.walk():
        _tag(node)
    shown = [node for node in root.walk() if not node.container]
    names = _names(shown)
    modules = []
    for node in shown:
        parent = next((n for n in node.above() if not n.container), None)
        each = node.count // parent.count if counts == "parent" and parent else node.count
        modules.append(
            WebModule(
                name=names[node],
                count=each,
                parent=names[parent] if parent else None,
                type="block" if node.children else "layer",
                definitions=tuple(node.definitions),
            )
        )
    return tuple(modules), tuple(astray)


def _tree(architecture: str, rows: Sequence[ModuleRow]) -> _Node:
    root = _Node(architecture, architecture, 1, None, architecture)
    line = [root]
    for row in rows:
        del line[row.depth + 1 :]
        numbers = _numbers(row.name)
        label = row.name if numbers is None else row.cls
        node = _Node(label, row.cls, row.count, line[-1], row.name, numbers)
        line[-1].children.append(node)
        line.append(node)
    return root


def _numbers(name: str) -> frozenset[int] | None:
    """The numbers that a row's name stands for, `[0-2,5]` or `5`; None for other names."""
    if name.isdecimal():
        return frozenset((int(name),))
    match = re.fullmatch(r"\[([0-9,-]+)\]", name)
    if match is None:
        return None
    return frozenset(numbers_in(match[1]))


def _find(root: _Node, path: str) -> tuple[_Node, bool]:
    """The node of a path, or the last one on the way to it; and whether the way was whole."""
    node, rest = root, path
    while rest:
        for child in node.children:
            if child.numbers is None:
                name = child.part  # may hold dots itself
            else:
                name = rest.partition(".")[0]
                if not name.isdecimal() or int(name) not in child.numbers:
                    continue
            if rest == name or rest.startswith(name + "."):
                node, rest = child, rest[len(name) + 1 :]
                break
        else:
            return node, False
    return node, True


def _tag(node: _Node) -> None:
    """Tell groups of one class below `node` apart: by the classes in which they differ."""
    classes = Counter(child.cls for child in node.children if child.numbers is not None)
    for cls, number in classes.items():
        groups = [c for c in node.children if c.numbers is not None and c.cls == cls]
        if number < 2:
            continue
        tags = _differing_classes(groups)
        if tags.count("") == 1:
            others = " + ".join(dict.fromkeys(filter(None, tags)))
            tags[tags.index("")] = f"without {others}"
        if len(set(tags)) < number or not all(tags):
            tags = [f"layers {g.part.strip('[]')}" for g in groups]
        if max(map(len, tags)) > 2 * _LONGEST_RANGE:
            tags = [f"kind {n}" for n in range(1, number + 1)]
        for group, tag in zip(groups, tags, strict=True):
            group.tag = tag
            group.label = f"{cls} ({tag})"


def _differing_classes(groups: Sequence[_Node]) -> list[str]:
    """For each group its classes at the least depth at which the groups differ, in words."""
    levels: list[list[tuple[str, _Node]]] = [[(c.part, c) for c in g.children] for g in groups]
    while any(levels):
        kinds = [{(path, node.cls) for path, node in level} for level in levels]
        common = set.intersection(*kinds)
        if any(kind != common for kind in kinds):
            found = []
            for group, level in zip(groups, levels, strict=True):
                own = [n.cls for path, n in level if (path, n.cls) not in common]
                found.append(" + ".join(dict.fromkeys(_without(group.cls, cls) for cls in own)))
            return found
        levels = [
            [(f"{path}.{c.part}", c) for path, node in level for c in node.children]
            for level in levels
        ]
    return ["" for _ in groups]


def _without(owner: str, cls: str) -> str:
    """`cls` without the words with which `owner` begins too: DeepseekV2MoE is MoE."""
    words, others = _WORD.findall(cls), _WORD.findall(owner)
    same = 0
    while same < min(len(words), len(others)) and words[same] == others[same]:
        same += 1
    return "".join(words[same:]) or cls


def _names(nodes: Sequence[_Node]) -> dict[_Node, str]:
    """A name for every node, as short as it can be and unique.

    Whatever shares a name goes on together: label, label with the repeated module that it is in,
    and then the same with one more module above it in front.
    """
    levels = dict.fromkeys(nodes, 0)
    forms = {node: _forms(node) for node in nodes}
    while True:
        names = {node: forms[node][levels[node]] for node in nodes}
        taken = Counter(names.values())
        stuck = True
        for node in nodes:
            if taken[names[node]] > 1 and levels[node] + 1 < len(forms[node]):
                levels[node] += 1
                stuck = False
        if stuck:
            break
    seen: Counter[str] = Counter()
    for node, name in names.items():
        seen[name] += 1
        if seen[name] > 1:
            names[node] = f"{name} #{seen[name]}"
    return names


def _forms(node: _Node) -> list[str]:
    """The names that a node can have, the shortest first."""
    group = next((n for n in node.above() if n.numbers is not None), None)
    within = f" ({group.tag or group.label})" if group is not None else ""
    forms, label = [], node.label
    above = list(node.above())
    for other in (None, *above):
        if other is not None:
            label = f"{other.label}.{label}"
        forms += [label, label + within]
    return forms
