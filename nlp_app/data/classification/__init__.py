"""Texts with classes: scan, splits, hold-out."""
