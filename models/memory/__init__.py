"""Shared by all stacks: modulations, relevance, answers, checkpoints, a loaded model's protocol."""
