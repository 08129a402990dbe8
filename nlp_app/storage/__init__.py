"""Ragged arrays, batches of their rows, and an on-disk cache of encoded corpora."""
