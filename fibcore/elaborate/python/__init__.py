"""An evaluator of Python source text."""
