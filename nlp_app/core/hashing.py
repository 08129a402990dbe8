"""Hashes of texts."""

from __future__ import annotations

from hashlib import blake2b


def text_hash(text: str, salt: int = 0) -> int:
    """Hash a text to 64 bits, the same on every machine.

    Args:
        text: The text. Unpaired surrogates are allowed.
        salt: Selects one of 2**64 independent hash functions.

    Returns:
        An integer in [0, 2**64).
    """
    key = salt.to_bytes(8, "little")
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little")


def is_empty(text: str) -> bool:
    """Check if a text is empty or consists of white space, so that it can't be classified.

    Args:
        text: The text.

    Returns:
        True if the text has no visible content.
    """
    return not text or text.isspace()
