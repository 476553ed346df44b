"""What the stack of arXiv 2403.04317 costs and gives."""
