"""Train a text classifier."""
