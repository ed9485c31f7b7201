"""Finds the functions of models that turn queries and keys by cosines and sines they are given."""

from __future__ import annotations

from collections.abc import Iterator

from fibcore.plugin import (
    Call,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Operation,
    UndecidedError,
    Unknown,
    decided,
    decided_size,
    fact,
    possible_values,
)
from fibcore_op_rope.names import OP_TYPE, angles_name, rows_name

_FUNCTION = "apply_rotary_pos_emb"
# Classes whose heads are turned as a whole, and where they keep the size of one.
_WHOLE = {"Gemma3Attention": "head_dim", "VisionAttention": "head_size"}


# What gives those layers their cosines and sines.
_TOWER_FUNCTION = "sglang.srt.layers.rotary_embedding.apply_rotary_pos_emb"
_TOWER = "sglang.srt.layers.attention.vision.VisionAttention"
_ANGLES = "sglang.srt.models.gemma3_causal.Gemma3RotaryEmbedding"


def add_functions(tree: ModelTree, found: KernelCollector) -> None:
    """Add what the functions turn, with every layer that calls one, and what gives the angles."""
    sizes: dict[int, int] = {}
    for call in _calls(tree):
        node = tree.node_of(call)
        kept = _WHOLE.get(node.class_name if node is not None else "")
        if node is None or kept is None:
            found.not_covered(
                f"{call.name} of another class",
                "which part of a head it turns is not known of the class that calls it",
                call,
            )
            continue
        try:
            size = decided_size(node.attributes.get(kept), kept)
            if size % 2:
                raise UndecidedError(f"{size} elements of a head make no pairs")
        except UndecidedError as why:
            found.problem(f"{call.name} kernel", str(why), call)
            continue
        kernel = _rows(size, node)
        # A rotary embedding that the layer holds, and does not call, stands for the function.
        held = [n for n in node.children.values() if _is_held(n)]
        found.claim(call)
        found.add(kernel, held[0] if held else call)
        if node.class_name == "Gemma3Attention":
            sizes[int(size)] = size
    for node in tree.walk():
        if node.cls == _ANGLES and node.calls and len(sizes) == 1:
            _add_angles(node, next(iter(sizes.values())), found)


def add_towers(tree: ModelTree, found: KernelCollector) -> tuple[str, ...]:
    """Add what attention of towers turns by the cosines and sines that its calls give it.

    `VisionAttention.forward` stands among the kernels of attention, and is not followed: where it
    gets any, it calls the function of this module on whole heads.

    Returns:
        Paths of the layers that turn so.
    """
    followed = turned_by_functions(tree)
    paths = []
    for node in tree.walk():
        if node.cls != _TOWER or node.path in followed or not any(map(_is_given, node.calls)):
            continue
        own = "customized_position_embedding_applier"
        try:
            function = decided(node.attributes.get(own), own)
            if function is not None:
                name = str(getattr(function, "name", own)).rpartition(".")[2]
                reason = "the tower gives attention a function of its own that turns"
                # Attention itself is another's kernel, which does not turn.
                found.not_covered(f"rotary embedding by {name}", reason, node, op_types=(OP_TYPE,))
                continue
            size = decided_size(node.attributes.get("head_size"), "head_size")
            if size % 2:
                raise UndecidedError(f"{size} elements of a head make no pairs")
        except UndecidedError as why:
            found.problem("rotary embedding of a tower", str(why), node)
            continue
        # The layer is not accounted for with it: it attends besides.
        turn = Operation(_TOWER_FUNCTION, node.path, (), {}, node.calls[0].place)
        found.add(_rows(size, node), turn)
        paths.append(node.path)
    return tuple(paths)


def _is_given(call: Call) -> bool:
    """Whether a call of a tower's attention gives it cosines and sines."""
    # forward(x, cu_seqlens=None, position_embeddings=None, ...)
    given = [call.argument(2, "position_embeddings"), call.kwargs.get("rotary_pos_emb_cos")]
    return any(
        value is not None and not (isinstance(value, Unknown) and not value.is_tensor)
        for each in given
        for value in possible_values(each)
    )


def _rows(size: int, node: ModuleNode) -> Kernel:
    return Kernel(
        op_type=OP_TYPE,
        name=rows_name(size),
        parameters={"head_size": int(size), "rows": True},
        facts={"head_size": fact(size, node, "elements of a head")},
        uses=(),
    )


def _is_held(node: ModuleNode) -> bool:
    return node.class_name.endswith("RotaryEmbedding") and node.leaf and not node.calls


def _add_angles(node: ModuleNode, size: int, found: KernelCollector) -> None:
    """Add what gives cosines and sines to layers whose heads have a size."""
    kernel = Kernel(
        op_type=OP_TYPE,
        name=angles_name(size),
        parameters={"head_size": int(size), "angles": True},
        facts={
            "head_size": fact(size, node, "elements of a head that is turned by them"),
            "num_pairs": fact(int(size) // 2, node, "head_size / 2", size),
        },
        uses=(),
    )
    found.add(kernel, node)


def gives_angles(node: ModuleNode, found: KernelCollector) -> bool:
    """Whether a module is one that gives angles, and was added as such."""
    return node.cls == _ANGLES and node.path in found.finish().claimed


def turned_by_functions(tree: ModelTree) -> set[str]:
    """Paths of the layers that turn by such a function, whatever modules they hold."""
    return {call.module for call in _calls(tree)}


def _calls(tree: ModelTree) -> Iterator[Operation]:
    return (call for call in tree.kernel_calls if call.name.startswith(_FUNCTION))
