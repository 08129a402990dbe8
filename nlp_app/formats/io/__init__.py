"""Bytes to lines and JSON objects: compression, encodings, streams, data sets."""
