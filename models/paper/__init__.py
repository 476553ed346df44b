"""The `paper` stack: the method of arXiv 2403.04317 as its authors describe it.

Every module names the paper's section or equation for what it computes; `docs/method.md` follows
them in order.
"""
