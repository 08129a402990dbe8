"""Split a stream of records into chunks of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_CHUNK_RECORDS = 1000  # predicted together: enough to fill batches, and few enough to fit into memory

_CHUNK_SIZE = 200_000  # tokens, or characters of raw text


def chunk_by_size(
    items: Iterable[T], size: Callable[[T], int], max_items: int = _CHUNK_RECORDS, max_size: int = _CHUNK_SIZE
) -> Iterator[list[T]]:
    """Group consecutive items into chunks that fit into memory.

    A chunk ends with the item that reaches a limit, so its size may exceed `max_size` by part of that item.

    Args:
        items: The items. They are read as the chunks are requested.
        size: Function that returns the size of an item.
        max_items: Largest number of items in a chunk.
        max_size: Total size at which a chunk ends.

    Yields:
        Lists of one or more items, in order.
    """
    chunk: list[T] = []
    chunk_size = 0
    for item in items:
        chunk.append(item)
        chunk_size += size(item)
        if len(chunk) >= max_items or chunk_size >= max_size:
            yield chunk
            chunk, chunk_size = [], 0
    if chunk:
        yield chunk
