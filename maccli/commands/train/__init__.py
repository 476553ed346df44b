"""The commands that train: a checkpoint, a judge, and what checkpoints are compared with."""
