"""The learning half of ``mac``: base models, amortization, relevance, training and its data.

Nothing here knows of the command line or of the store on disk. Importing this package loads neither
torch nor transformers; only the modules that compute with tensors do.
"""
