"""Hashes of texts."""

from __future__ import annotations

from hashlib import blake2b


def text_hash(text: str, salt: int = 0) -> int:
    """64 bits that tell texts apart; another `salt`, another hash."""
    key = salt.to_bytes(8, "little")
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little")


def is_empty(text: str) -> bool:
    """Whether a text has nothing to be classified by."""
    return not text or text.isspace()
