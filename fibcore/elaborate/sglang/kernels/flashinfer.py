"""FlashInfer's functions."""

KERNELS = ("flashinfer.*",)
HELPERS = (
    "flashinfer.utils.*",
    "flashinfer.jit.*",
    "flashinfer.autotuner.*",
    "flashinfer.get_*",
    "flashinfer.is_*",
    "flashinfer.*.get_*",
    "flashinfer.*.is_*",
    "flashinfer.*.can_*",
    "flashinfer.*.has_*",
    "flashinfer.*Workspace*",
    "flashinfer.*workspace*",
    "flashinfer.*Wrapper",
    "flashinfer.*Type*",
    "flashinfer.*Enum*",
    "flashinfer.*Pattern*",
)
BESIDE = (
    "flashinfer.*quantize*",
    "flashinfer.*allreduce*",
    "flashinfer.*append_paged*",
)
