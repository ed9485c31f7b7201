"""sgl_kernel, the kernels that are released with SGLang."""

KERNELS = ("sgl_kernel.",)
HELPERS = ("sgl_kernel.utils.", "sgl_kernel.scalar_type.")
HELPER_NAMES = ("get_", "is_", "has_", "init_", "can_", "cutlass_mla_get_workspace")
BESIDE = ("quant", "all_reduce", "kv_cache", "kv_buffer")
