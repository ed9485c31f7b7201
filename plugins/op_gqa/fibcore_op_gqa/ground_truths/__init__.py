"""Chooses the implementations that a definition of grouped query attention is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, named_after
from fibcore_op_gqa.definitions import extras_of, kind_of, widths
from fibcore_op_gqa.names import KINDS, OWN_OP_TYPES, PLAIN, Extras, Kind

# Sizes of key and value heads of FlashInfer's fa2 kernels that its own tests cover. Decode on CUDA
# cores has one size for both, and also takes 512, where the group size is one it has a kernel for
# (`DISPATCH_GQA_GROUP_SIZE`).
_FLASHINFER_HEAD_DIMS = ((64, 64), (128, 128), (256, 256), (192, 128))
_CUDA_CORE_GROUPS = (1, 2, 3, 4, 8)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer where it has the kernel, then SGLang's torch-native attention.

    For what is not plain, torch's flex attention is the last one: SGLang's function knows no cap,
    no chunks, no sinks and no mask, over a cache is causal, and has no window in every version.
    FlashInfer's variant with sinks has no cap and no mask, and none of its kernels has chunks.
    Decode whose values are not as wide as its keys is its prefill of one query a sequence.

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
        wrapped = "prefill" if _is_prefill_of_one(kind, extras) else kind
        masked = () if wrapped == "decode" else ("MASKED",)
        stem, names = f"flashinfer_{KINDS[wrapped].stem}", ("WINDOW", "CAP", *masked)
        if extras.sink:
            form = "ragged" if kind == "ragged" else "paged"
            stem, names = f"flashinfer_gqa_{form}_sink", ("WINDOW", "MASKED")
        entry, source = _source(stem, extras, names)
        found.append(
            GroundTruth(
                name=KINDS[wrapped].with_sinks if extras.sink else KINDS[wrapped].flashinfer,
                kind="flashinfer",
                entry=entry,
                source=source,
                device="cuda",
                min_capability=(8, 0),  # bfloat16 tensor cores
                packages=("flashinfer",),
            )
        )
    if _sglang_has(kind, extras):
        entry, source = _source(f"sglang_{KINDS[kind].stem}", extras, ("WINDOW", *ragged))
        found.append(
            GroundTruth(name=KINDS[kind].sglang, kind="sglang", entry=entry, source=source)
        )
    if extras != PLAIN:
        stem = f"torch_flex_{definition.op_type}"
        entry, source = _source(stem, extras, ("WINDOW", "CAP", "CHUNK", "MASKED"))
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
    suffix = extras.suffix + ("_vo" if extras.value_dim is not None else "")
    suffix += "" if extras.causal else "_mask" if extras.mask else "_full"
    suffix = suffix.lstrip("_")
    text = named_after(text, stem, suffix, {name: values[name] for name in constants})
    return f"{stem}_{suffix}", text


def _is_prefill_of_one(kind: Kind, extras: Extras) -> bool:
    """Whether FlashInfer's decode has no kernel and its prefill has."""
    return kind == "decode" and extras.value_dim is not None


def _sglang_has(kind: Kind, extras: Extras) -> bool:
    if extras.cap is not None or extras.chunk is not None or extras.sink or extras.mask:
        return False
    return extras.causal or kind == "ragged"


def _flashinfer_has(kind: Kind, definition: Definition, extras: Extras) -> bool:
    if extras.chunk is not None or (extras.sink and (extras.cap is not None or extras.mask)):
        return False
    if widths(definition) in _FLASHINFER_HEAD_DIMS:
        return True
    axes = definition.const_axes
    group = axes["num_qo_heads"] // axes["num_kv_heads"]
    return (
        not extras.sink
        and extras.cache is None
        and kind == "decode"
        and widths(definition) == (512, 512)
        and group in _CUDA_CORE_GROUPS
    )
