"""Read the documents of spaCy 3: a `.spacy` file, which holds a `DocBin`. Needs the package spacy."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.core.types import TokenRecord
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

# Errors of zlib, msgpack and spaCy for other content.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, zlib.error)

_INSTALL = "reading .spacy files needs spaCy; install it (pip install 'nlp-app[spacy]'), or save JSON lines"


def read(path: Path, options: ReadOptions, log: ReadLog | None = None) -> Iterator[TokenRecord]:
    """Read a record from each document. Its number takes the place of a line number.

    Args:
        path: The file.
        options: Reading options; only `labels` is used.
        log: Collects the parts that are skipped.

    Yields:
        A record for each document: its tokens without white space, with BIO tags of its entities.

    Raises:
        DataError: spaCy is not installed, or the file is no `DocBin`.
    """
    log = log or ReadLog(counting=False)
    try:
        from spacy.tokens import DocBin  # noqa: PLC0415
        from spacy.vocab import Vocab  # noqa: PLC0415
    except ImportError as error:
        raise DataError(_INSTALL, path) from error
    content = path.read_bytes()
    try:
        documents = DocBin().from_bytes(content).get_docs(Vocab())
        records = [_make_record(document, number, options, log) for number, document in enumerate(documents, 1)]
    except _DAMAGED as error:
        raise DataError(f"is not a file of spaCy's DocBin: {error or type(error).__name__}", path) from error
    yield from records


def _make_record(document: Any, number: int, options: ReadOptions, log: ReadLog) -> TokenRecord:
    _log_skipped(document, log)
    # Not `token.is_space`: an empty vocabulary doesn't compute it.
    tokens = [token for token in document if not token.text.isspace()]
    tags = _entity_tags(document) if options.labels and document.has_annotation("ENT_IOB") else None
    lines = (number,) * len(tokens)
    return TokenRecord([token.text for token in tokens], tags, lines, document.text, [token.idx for token in tokens])


def _entity_tags(document: Any) -> list[str]:
    """Return the BIO tags of all tokens that are not white space."""
    tags = ["O"] * len(document)
    for entity in document.ents:
        tokens = [token.i for token in entity if not token.text.isspace()]
        for index in tokens:
            tags[index] = f"{'B' if index == tokens[0] else 'I'}-{entity.label_}"
    return [tag for tag, token in zip(tags, document, strict=True) if not token.text.isspace()]


def _log_skipped(document: Any, log: ReadLog) -> None:
    for name, spans in document.spans.items():
        log.skip(f"spans of the group {name}", len(spans))
    log.skip("classes of whole documents", len(document.cats))
