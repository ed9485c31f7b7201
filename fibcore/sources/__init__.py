"""Where models come from: source trees (git, PyPI, installed, local) and their configs."""
