"""Ragged arrays, batches cut from them, and a cache of encoded corpora on disk."""
