"""Train a tagger."""
