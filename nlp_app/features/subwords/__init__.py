"""Subword tokenizer, casing and overlapping windows for transformers."""
