"""Labeled texts: file scans, splits and hold-out sets."""
