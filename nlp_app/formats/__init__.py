"""Readers and writers for annotated files."""
