"""Configs of models: files, the Hub, the catalogue, Mistral's params.json."""
