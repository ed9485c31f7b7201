"""References as text and as code that runs in processes of its own."""
