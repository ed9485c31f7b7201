"""Packages that SGLang's models take parts from: what of their source is followed, and how."""
