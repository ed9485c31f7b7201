"""Keeps pytest from collecting the package's test_template.py, which is data, as a test module."""

collect_ignore_glob = ["fibcore_op_attn_residual/*"]
