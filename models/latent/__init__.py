"""The default stack: the base LM's own keys and values, compressed by learned matrices."""
