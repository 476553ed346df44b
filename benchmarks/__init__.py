"""Measurements that the docs quote, each a module to run with `python -m`."""
