"""The default base models' networks and tokenizers, without transformers: importing it is slow."""
