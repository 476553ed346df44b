"""Stores of other machines."""
