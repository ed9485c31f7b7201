"""AMD's AITER, which SGLang calls on ROCm."""

KERNELS = ("aiter.",)
HELPERS = ("aiter.dtypes.", "aiter.jit.", "aiter.utility.")
# Names of classes begin with capitals.
HELPER_NAMES = ("get_", "is_", *map(chr, range(ord("A"), ord("Z") + 1)))
BESIDE = ("quant_hip", "per_token_quant", "per_group_quant", "dynamic_per_token", "allreduce")
