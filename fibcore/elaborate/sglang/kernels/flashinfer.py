"""FlashInfer's functions; its wrappers, which are objects, are none."""

KERNELS = ("flashinfer.",)
HELPERS = ("flashinfer.utils.", "flashinfer.jit.", "flashinfer.autotuner.")
# Names of classes begin with capitals.
HELPER_NAMES = ("get_", "is_", "can_", "has_", *map(chr, range(ord("A"), ord("Z") + 1)))
BESIDE = ("quantize", "allreduce", "append_paged")
