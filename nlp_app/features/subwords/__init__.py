"""Subwords, casing and overlapping windows for transformers."""
