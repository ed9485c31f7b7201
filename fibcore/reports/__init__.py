"""Reports of datasets and of sources."""
