"""Texts and prompts: how documents are cut into chunks, and what a language model is told."""
