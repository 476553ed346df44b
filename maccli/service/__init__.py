"""What `mac` does, without a command line: the modules that join `store` and `models`.

A question is retrieved (`evidence`), answered (`ask`) and cited (`sources`). A document is read
(`maccli.reading`), then cut, amortized and stored (`amortizing`). Importing these modules loads
neither torch nor transformers; a model is loaded when it is first needed.
"""
