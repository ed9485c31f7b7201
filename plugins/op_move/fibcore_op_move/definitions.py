"""Writes the definition of a write to a paged cache, and reads what other tools' compute."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    other_than,
    render,
    scalar,
    tensor,
    var,
)
from fibcore_op_move.names import KINDS, OP_TYPE, Kind, Layout, bytes_of_row

_AXES = {
    "nnz_kv": "Tokens that are appended, of all sequences.",
    "num_pages": "Pages of the cache.",
    "batch_size": "Sequences.",
    "batch_size_plus_1": "batch_size + 1.",
    "num_kv_indices": "Pages of all sequences.",
    "page_size": "Tokens in a page.",
    "num_kv_heads": "Key and value heads.",
    "head_dim": "Elements of a head.",
    "head_dim_qk": "Elements of a key head.",
    "head_dim_vo": "Elements of a value head.",
    "head_dim_ckv": "Elements of a latent vector.",
    "head_dim_kpe": "Elements of the rope part of a key.",
    "kv_dim": "Bytes of a token in the cache, scales and rope part included.",
}
_ROWS: dict[Layout, tuple[str, str]] = {
    "kv": ("num_kv_heads head_dim", "num_kv_heads head_dim"),
    "kv_widths": ("num_kv_heads head_dim_qk", "num_kv_heads head_dim_vo"),
    "mla": ("head_dim_ckv", "head_dim_kpe"),
}
_ROWS |= {"kv_fp8": _ROWS["kv"], "mla_fp8": _ROWS["mla"], "mla_block_scale": _ROWS["mla"]}
_WORDS: dict[Layout, tuple[str, str]] = {
    "kv": ("keys", "values"),
    "mla": ("latent vectors", "rope parts of keys"),
}
_WORDS |= {"kv_fp8": _WORDS["kv"], "kv_widths": _WORDS["kv"]}
_WORDS |= {"mla_fp8": _WORDS["mla"], "mla_block_scale": _WORDS["mla"]}
_BYTES = (
    "Bytes of a token: latent vector in float8_e4m3fn, a float32 scale for 128 of its elements, "
    "rope part in bfloat16; unused places hold anything."
)
_CONSTRAINTS = (
    "batch_size_plus_1 == batch_size + 1",
    "num_kv_indices == kv_indptr[-1].item()",
)


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found, as FlashInfer's trace templates have it.

    Axes: nnz_kv, num_pages, batch_size, batch_size_plus_1, num_kv_indices (var), and the const
    axes of the kind; page_size is a var axis of latent caches. Inputs: what is appended [nnz_kv,
    ...] bfloat16, batch_indices and positions [nnz_kv] int32, the two caches [num_pages, page_size,
    ...] bfloat16 or float8_e4m3fn, or one of bytes [num_pages, page_size, kv_dim] int8, kv_indices,
    kv_indptr and kv_last_page_len int32, and of keys and values in fp8 what they are divided by,
    k_scale and v_scale float32. Outputs: the caches.
    """
    layout = next(name for name in KINDS if name == kernel.parameters["layout"])
    kind = KINDS[layout]
    sizes = {axis: int(kernel.parameters[axis]) for axis in kind.const_axes}
    template = files(__package__) / "references" / f"{kind.source}.py"
    constants = {axis.upper(): size for axis, size in sizes.items()}
    inputs, outputs = _tensors(layout)
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(layout, sizes),
        tags=kernel.tags,
        axes=_axes(kind, sizes),
        inputs=inputs,
        outputs=outputs,
        reference=render(template.read_text(encoding="utf-8"), constants),
        constraints=_CONSTRAINTS,
    )


def _axes(kind: Kind, sizes: dict[str, int]) -> dict[str, Axis]:
    names = ["nnz_kv", *kind.const_axes, "num_pages", "page_size", "batch_size"]
    names += ["batch_size_plus_1", "num_kv_indices"]
    return {
        name: const(sizes[name], _AXES[name]) if name in sizes else var(_AXES[name])
        for name in dict.fromkeys(names)
    }


def _tensors(layout: Layout) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Inputs and outputs, in order."""
    kind, rows, words = KINDS[layout], _ROWS[layout], _WORDS[layout]
    parts = list(zip(rows, words, strict=True))
    inputs = {
        name: tensor(f"nnz_kv {row}", "bfloat16", f"New {what}.")
        for name, (row, what) in zip(kind.appended, parts, strict=True)
    }
    inputs["batch_indices"] = tensor("nnz_kv", "int32", "Sequence of each new token.")
    inputs["positions"] = tensor(
        "nnz_kv", "int32", "Position of each new token in its sequence, from 0."
    )
    caches = parts
    if len(kind.caches) == 1:
        caches = [(kind.implied[0], " and ".join(words))]
    said = {
        name: f"The cache of {what}." for name, (_, what) in zip(kind.caches, caches, strict=True)
    }
    if kind.dtype == "int8":
        said = dict.fromkeys(kind.caches, _BYTES)
    inputs |= {
        name: tensor(f"num_pages page_size {row}", kind.dtype, said[name])
        for name, (row, _) in zip(kind.caches, caches, strict=True)
    }
    inputs["kv_indices"] = tensor(
        "num_kv_indices", "int32", "Page numbers of all sequences, one after the other."
    )
    inputs["kv_indptr"] = tensor(
        "batch_size_plus_1", "int32", "Where each sequence's pages begin in kv_indices."
    )
    inputs["kv_last_page_len"] = tensor(
        "batch_size", "int32", "Tokens in the last page of each sequence, new ones included."
    )
    inputs |= {
        name: scalar("float32", f"New {what} are divided by it before they are rounded.")
        for name, what in zip(kind.scales, words, strict=False)
    }
    outputs = {
        name: tensor(f"num_pages page_size {row}", kind.dtype, f"The cache with the new {what}.")
        for name, (row, what) in zip(kind.outputs, caches, strict=True)
    }
    return inputs, outputs


def _description(layout: Layout, sizes: dict[str, int]) -> str:
    rounded = {
        "kv_fp8": " They are divided by k_scale and v_scale, and rounded to float8_e4m3fn.",
        "mla_fp8": " They are rounded to float8_e4m3fn.",
        "mla_block_scale": (
            " Blocks of 128 elements of a latent vector are divided by a scale, the largest "
            "magnitude / 448, and rounded to float8_e4m3fn; rope parts stay bfloat16. A block of "
            "zeros has a scale of 0, and zeros; SGLang's kernel multiplies by the inverse, "
            "infinity, which is NaN."
        ),
    }.get(layout, "")
    if layout.startswith("mla"):
        row = f"{sizes['head_dim_ckv']} elements, and rope parts of {sizes['head_dim_kpe']}"
        return (
            f"Append to a paged cache of latent attention: latent vectors of {row}, of new tokens "
            f"go to the pages of their sequences; all else stays. Kernels write in place.{rounded}"
        )
    heads, pages = sizes["num_kv_heads"], sizes["page_size"]
    rows = f"keys and values of {heads} heads of {sizes.get('head_dim')} elements"
    if layout == "kv_widths":
        rows = (
            f"keys of {heads} heads of {sizes['head_dim_qk']} elements, and values of "
            f"{sizes['head_dim_vo']},"
        )
    return (
        f"Append to a paged KV cache: {rows} of new tokens go to the "
        f"pages of their sequences, {pages} tokens in a page; all else stays. Kernels write in "
        f"place.{rounded}"
    )


def identify(definition: Definition) -> Identity:
    """No variant, for the inputs tell the layouts apart; sizes that the name gives otherwise."""
    layout = layout_of(definition)
    consts = KINDS[layout].consts if layout is not None else {}
    found = list(in_name(definition, consts))
    sizes = definition.const_axes
    if layout == "mla_block_scale":
        row = bytes_of_row(sizes["head_dim_ckv"], sizes["head_dim_kpe"])
        found += other_than(
            definition, "kv_dim", row, "a latent vector, its scales and a rope part"
        )
    return Identity("", tuple(found))


def layout_of(definition: Definition) -> Layout | None:
    """Which layout a definition is of; None where its tensors or axes are others."""
    for layout, kind in KINDS.items():
        if (
            tuple(definition.inputs) == kind.inputs
            and definition.inputs[kind.caches[0]].dtype == kind.dtype
            and tuple(definition.outputs) == kind.outputs
            and set(definition.const_axes) == set(kind.const_axes)
            and set(definition.axes) <= set(_AXES)
        ):
            return layout
    return None
