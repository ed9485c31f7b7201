"""Pages about coverage that people keep by hand: read, and held against what is derived."""
