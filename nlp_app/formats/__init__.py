"""Readers and writers of annotated files."""
