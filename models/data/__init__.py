"""Reads question-answering data: this project's JSON lines, SQuAD, and the paper's data sets."""
