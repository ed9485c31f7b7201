"""Config classes of transformers: defaults, derived values, names."""
