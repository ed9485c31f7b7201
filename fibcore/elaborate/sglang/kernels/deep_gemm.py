"""DeepGEMM."""

KERNELS = ("deep_gemm.*",)
HELPERS = (
    "deep_gemm.get_*",
    "deep_gemm.set_*",
    "deep_gemm.ceil_div",
    "deep_gemm.jit*",
    "deep_gemm.utils.math.*",
    "deep_gemm.utils.layout.get_*_alignment",
)
