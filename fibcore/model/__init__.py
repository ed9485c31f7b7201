"""What all rooms speak of: module trees, kernels, definitions, serving options."""
