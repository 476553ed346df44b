"""The `paper` stack: the method of arXiv 2403.04317 as its authors describe it.

Every module gives the paper's section or equation beside what it computes; `docs/method.md` goes
through them in order.
"""
