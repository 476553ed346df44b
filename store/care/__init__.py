"""Keeping a store whole: verifying, repairing, giving back space."""
