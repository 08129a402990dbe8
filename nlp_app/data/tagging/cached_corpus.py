"""Cache a corpus on disk as columns of sentences, so that it need not fit into memory and later runs load it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.files import checksum
from nlp_app.core.types import Record
from nlp_app.data.tagging.alignment import AlignmentReport
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, RecordFile, TagRepair, stream_corpus
from nlp_app.formats import tagging as formats
from nlp_app.formats.tagging import is_data_set
from nlp_app.formats.tagging.parallel import tags_path
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, encoding_key, load_or_build
from nlp_app.storage.sentences import StoredSentences, sentence_columns
from nlp_app.text.tokenizer import tokenizer_key

_MAX_LISTED = 100  # repairs and changed spans that are listed; all are counted


def read_cached_corpus(path: str | Path, options: CorpusOptions, say: Callable[[str], None] | None = None) -> Corpus:
    """Read a corpus into the on-disk cache, or load it from there.

    Like `read_corpus`, but the sentences are `StoredSentences`, and only the first 100 repairs and changed spans are
    listed.

    Args:
        path: A file, a folder, or the name of a Hub data set.
        options: How to read it.
        say: Called with a message if the corpus can't be cached.

    Returns:
        The corpus.

    Raises:
        DataError: See `read_corpus`.
    """
    name = options.format or formats.detect_format(path, encoding=options.reading.encoding)
    file = RecordFile(path, name, options.reading)
    records: Iterable[Record] = file
    if not is_data_set(path) and not Path(path).is_file() and not Path(path).is_dir():
        records = list(records)  # a pipe can't be read twice

    def write(writer: CacheEntryWriter) -> None:
        corpus, sentences = stream_corpus(records, path, name, options)
        labels: dict[str, int] = {}
        labeled = False
        for chunk in chunk_by_size(sentences, len):
            labeled = chunk[0].spans is not None
            for key, columns in sentence_columns(chunk, labels).items():
                writer.append(key, columns)
            del corpus.repairs[_MAX_LISTED:], corpus.ledger.entries[_MAX_LISTED:]
        writer.facts |= {
            "scheme": corpus.scheme,
            "evidence": corpus.evidence,
            "spelling": corpus.spelling,
            "tokenizer": corpus.tokenizer,
            "labels": list(labels),
            "labelled": labeled,
            "repairs": corpus.repairs,
            "repaired": corpus.repaired,
            "remarks": [*file.log.remarks, *corpus.remarks],
            "detected": dict(file.log.detected),
            "ledger": {name: getattr(corpus.ledger, name) for name in ("gold", "kept", "adjusted", "dropped")},
        }

    key = _key(path, name, options)

    def read(entry: CacheEntry) -> Corpus:
        facts: dict[str, Any] = dict(entry.facts)
        sentences = StoredSentences(entry.columns, facts.pop("labels"), facts.pop("labelled"), key)
        repairs = [TagRepair(*repair) for repair in facts.pop("repairs")]
        ledger = AlignmentReport(**facts.pop("ledger"))
        return Corpus(str(path), name, sentences, repairs=repairs, ledger=ledger, **facts)

    return load_or_build(key, write, read, say=say)


def _key(path: str | Path, format: str, options: CorpusOptions) -> str | None:
    """Return a cache key for the files' content and the options; None if there is no file (a pipe, a Hub data set)."""
    root = Path(path)
    files = _files(root, format, options) if not is_data_set(path) else []
    if not files:
        return None
    return encoding_key(
        "corpus",
        format,
        repr(sorted(asdict(options.reading).items())),
        repr((options.scheme, options.spelling, options.alignment, options.strict)),
        tokenizer_key(options.tokenizer),
        # In a folder, files belong together by name.
        *(file.relative_to(root).as_posix() if root.is_dir() else file.suffix for file in files),
        *map(checksum, files),
    )


def _files(path: Path, format: str, options: CorpusOptions) -> Sequence[Path]:
    """List the files that a corpus is read from."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if format == "brat":
        return [file for file in (path.with_suffix(".txt"), path.with_suffix(".ann")) if file.is_file()]
    if format == "parallel":
        return [file for file in (path, tags_path(path, options.reading)) if file.is_file()]
    return [path] if path.is_file() else []
