"""The rivals of `mac` that learn or retrieve by other means: what it is compared with.

LoRA adapters for reading text and for online fine-tuning, CaMeLS, salient spans, trained constant
prefix tokens, and sentence encoders of others.
"""
