"""N-gram features and the encoder of texts for classifiers."""
