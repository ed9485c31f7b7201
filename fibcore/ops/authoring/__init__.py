"""What authors of plugins import besides the hooks."""
