"""What `mac` does, without a command line: the only modules that join `store` and `models`.

Importing them loads neither torch nor transformers; a model is loaded when it is first needed.
"""
