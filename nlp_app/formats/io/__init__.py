"""Low-level input and output: compression, encodings, lines, JSON objects, streams and Hugging Face datasets."""
