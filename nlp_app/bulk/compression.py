"""Output that is compressed: a frame of its own for each run of records, so that it depends on nothing but them.

Frames stand one after the other; gzip, zstd and what reads their files take them for one.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from nlp_app.formats.compressed import COMPRESSED

_LEVEL_OF_GZIP, _LEVEL_OF_ZSTD = 6, 3


def kind_of(target: str | Path | None) -> str | None:
    """`gzip` or `zstd` where the name of the output asks for it, else None."""
    return None if target is None else COMPRESSED.get(Path(target).suffix.lower())


def frame(data: bytes, kind: str | None) -> bytes:
    """The bytes as one gzip member (without a time) or zstd frame (with a checksum); as they are for None."""
    if kind == "gzip":
        return gzip.compress(data, _LEVEL_OF_GZIP, mtime=0)
    if kind == "zstd":
        import zstandard  # noqa: PLC0415 - only for files that need it

        return zstandard.ZstdCompressor(level=_LEVEL_OF_ZSTD, write_checksum=True).compress(data)
    return data
