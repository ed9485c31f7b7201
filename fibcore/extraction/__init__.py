"""From models and serving options to kernels, definitions and a dataset."""
