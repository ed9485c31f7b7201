"""sgl_kernel, the kernels that are released with SGLang."""

KERNELS = ("sgl_kernel.*",)
HELPERS = (
    "sgl_kernel.utils.*",
    "sgl_kernel.scalar_type.*",
    "sgl_kernel.*_workspace*",
    "sgl_kernel.get_*",
    "sgl_kernel.is_*",
    "sgl_kernel.has_*",
    "sgl_kernel.init_*",
    "sgl_kernel.*.get_*",
    "sgl_kernel.*.is_*",
)
BESIDE = (
    "sgl_kernel.*quant*",
    "sgl_kernel.*all_reduce*",
    "sgl_kernel.*kv_cache*",
    "sgl_kernel.*kv_buffer*",
)
