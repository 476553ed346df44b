"""Meta-training: the loop, and the data that every method of training draws from.

A method (`models.training.method.TrainingMethod`) says what learns and what its loss is; the stacks
and the rivals each define one.
"""
