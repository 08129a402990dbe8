"""Sentences with spans: alignment, corpora, statistics, splits, hold-out."""
