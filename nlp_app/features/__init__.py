"""Encoders of sentences and texts as integer columns. They don't use torch."""

from __future__ import annotations
