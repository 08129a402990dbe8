"""Sentences with labeled spans: corpora, alignment, statistics, splits and hold-out sets."""
