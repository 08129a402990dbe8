"""Read corpora and split them for training and evaluation."""
