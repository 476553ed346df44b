"""Measurements that README quotes, each a module to run with `python -m`."""
