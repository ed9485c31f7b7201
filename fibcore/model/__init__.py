"""Records that all rooms share: module trees, kernels, definitions, serving options, dtypes."""
