"""A made-up SGLang: just enough source text for one small model to be elaborated."""
