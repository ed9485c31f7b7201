"""Chooses the implementations that a definition of grouped query attention is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, named_after
from fibcore_op_gqa.definitions import extras_of, kind_of
from fibcore_op_gqa.names import KINDS, OWN_OP_TYPES, PLAIN, Extras, Kind

# Head sizes of FlashInfer's fa2 kernels that its own tests cover. Decode on CUDA cores also takes
# 512, where the group size is one it has a kernel for (`DISPATCH_GQA_GROUP_SIZE`).
_FLASHINFER_HEAD_DIMS = (64, 128, 256)
_CUDA_CORE_GROUPS = (1, 2, 3, 4, 8)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer where it has the kernel, then SGLang's torch-native attention.

    For what is not plain, torch's flex attention is the last one: SGLang's function knows no cap,
    no chunks and no sinks, and no window in every version. FlashInfer's variant with sinks has no
    cap, and none of its kernels has chunks.

    Empty for a definition whose tensors or name show another function than this plugin's, and for
    another plugin's op types.
    """
    if definition.op_type not in OWN_OP_TYPES:
        return ()
    kind = kind_of(definition)
    if kind is None:
        return ()
    extras = extras_of(definition)
    found = []
    ragged = ("MASKED",) if kind == "ragged" else ()
    if _flashinfer_has(kind, definition, extras):
        stem, names = f"flashinfer_{KINDS[kind].stem}", ("WINDOW", "CAP", *ragged)
        if extras.sink:
            form = "ragged" if kind == "ragged" else "paged"
            stem, names = f"flashinfer_gqa_{form}_sink", ("WINDOW", *ragged)
        entry, source = _source(stem, extras, names)
        found.append(
            GroundTruth(
                name=KINDS[kind].with_sinks if extras.sink else KINDS[kind].flashinfer,
                kind="flashinfer",
                entry=entry,
                source=source,
                device="cuda",
                min_capability=(8, 0),  # bfloat16 tensor cores
                packages=("flashinfer",),
            )
        )
    if extras.cap is None and extras.chunk is None and not extras.sink:
        entry, source = _source(f"sglang_{KINDS[kind].stem}", extras, ("WINDOW", *ragged))
        found.append(
            GroundTruth(name=KINDS[kind].sglang, kind="sglang", entry=entry, source=source)
        )
    if extras != PLAIN:
        stem = f"torch_flex_{definition.op_type}"
        entry, source = _source(stem, extras, ("WINDOW", "CAP", "CHUNK", *ragged))
        name = "torch.nn.attention.flex_attention"
        found.append(GroundTruth(name=name, kind="torch", entry=entry, source=source))
    return tuple(found)


def _source(stem: str, extras: Extras, constants: tuple[str, ...]) -> tuple[str, str]:
    """Entry and text of a ground truth for what is not plain.

    Definitions of several windows share a test module, so the names have them too.
    """
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    if extras == PLAIN:
        return stem, text
    values = {
        "WINDOW": extras.window,
        "CAP": extras.cap,
        "CHUNK": extras.chunk,
        "MASKED": extras.causal,
    }
    suffix = (extras.suffix + ("" if extras.causal else "_full")).lstrip("_")
    text = named_after(text, stem, suffix, {name: values[name] for name in constants})
    return f"{stem}_{suffix}", text


def _flashinfer_has(kind: Kind, definition: Definition, extras: Extras) -> bool:
    if extras.chunk is not None or (extras.sink and extras.cap is not None):
        return False
    axes = definition.const_axes
    if axes["head_dim"] in _FLASHINFER_HEAD_DIMS:
        return True
    group = axes["num_qo_heads"] // axes["num_kv_heads"]
    return (
        not extras.sink
        and kind == "decode"
        and axes["head_dim"] == 512
        and group in _CUDA_CORE_GROUPS
    )
