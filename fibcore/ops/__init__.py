"""Op types: the hooks that plugins implement, and the registry of what is installed."""
