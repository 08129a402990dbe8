"""Chunks of bounded size from a sequence of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_CHUNK_RECORDS = 1000  # predicted together: enough to fill batches, few enough to hold

_CHUNK_SIZE = 200_000  # tokens, or characters of raw text, after which a chunk is closed


def chunk_by_size(
    items: Iterable[T], size: Callable[[T], int], most: int = _CHUNK_RECORDS, room: int = _CHUNK_SIZE
) -> Iterator[list[T]]:
    """Runs of items that are small enough, by number and by size, to be held in memory together."""
    chunk: list[T] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += size(item)
        if len(chunk) >= most or held >= room:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
