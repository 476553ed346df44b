"""Modulations as bytes: a chunk's own, and those that several chunks share after a merge."""
