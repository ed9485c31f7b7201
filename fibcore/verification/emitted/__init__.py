"""Sources of the files that are emitted beside reference tests."""
