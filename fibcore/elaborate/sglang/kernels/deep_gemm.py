"""DeepGEMM."""

KERNELS = ("deep_gemm.",)
HELPERS = ("deep_gemm.jit", "deep_gemm.utils.math.")
HELPER_NAMES = ("get_", "set_", "ceil_", "align")
BESIDE = ()
