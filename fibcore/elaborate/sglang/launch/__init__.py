"""Launch lines of SGLang's server: options as the source declares them, and what they settle."""
