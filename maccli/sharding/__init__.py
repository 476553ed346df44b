"""Ingest on many machines: inputs are cut into shards, each of which becomes one exported store.

A shard's file appears when it is whole, so that whatever fails, the same command goes on where it
stopped. `manifest.json` is written last and names every file: readers trust it alone.
"""
