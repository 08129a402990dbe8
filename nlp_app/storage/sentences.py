"""Sentences stored as columns, in memory or in mapped files, and decoded on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.hashing import text_hash
from nlp_app.core.types import CharSpan, Sentence, TokenSpan
from nlp_app.storage.memory_map import MappedColumns
from nlp_app.storage.ragged import RaggedColumns

Places = NDArray[np.int64]

_CHUNK = 1000  # sentences that are read before the memory of their pages is released


class StoredSentences(Sequence[Sentence]):
    """A sequence of sentences that are decoded on access from columns.

    Attributes:
        columns: Columns by name, a row for each stored sentence: "texts" (array "bytes", UTF-8), "tokens" ("starts",
            "ends"), "lines" ("lines"), "spans" and "unaligned" ("bounds" (spans, 2) and "labels", which are indices
            into `labels`), and "hashes" ("tokens", one hash for each sentence).
        labels: Labels of the spans.
        labeled: True if the sentences have gold spans.
        source: Cache key of the entry that the columns are stored in. None: not cached.
        rows: (sentences,) rows of the columns that this sequence consists of. The constructor's default is all rows.
    """

    def __init__(
        self,
        columns: Mapping[str, RaggedColumns],
        labels: Sequence[str],
        labeled: bool,
        source: str | None = None,
        rows: Places | None = None,
    ) -> None:
        self.columns, self.labels, self.labeled, self.source = columns, tuple(labels), labeled, source
        self.rows = np.arange(len(columns["tokens"]), dtype=np.int64) if rows is None else rows

    @classmethod
    def from_sentences(cls, sentences: Sequence[Sentence]) -> StoredSentences:
        """Encode sentences as columns in memory.

        Args:
            sentences: The sentences.

        Returns:
            The same sentences, in the same order.
        """
        labels: dict[str, int] = {}
        columns = sentence_columns(sentences, labels)
        return cls(columns, tuple(labels), any(sentence.spans is not None for sentence in sentences))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sentence: ...
    @overload
    def __getitem__(self, index: slice) -> StoredSentences: ...

    def __getitem__(self, index: int | slice) -> Sentence | StoredSentences:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        return self._decode(int(self.rows[index]))

    def __iter__(self) -> Iterator[Sentence]:
        for start in range(0, len(self.rows), _CHUNK):
            yield from map(self._decode, self.rows[start : start + _CHUNK].tolist())
            self.release()

    def select(self, places: Places) -> StoredSentences:
        """Select sentences without copying them.

        Args:
            places: Indices of the sentences, in any order.

        Returns:
            The selected sentences, on the same columns.
        """
        return StoredSentences(self.columns, self.labels, self.labeled, self.source, self.rows[places])

    def release(self) -> None:
        """Release the memory of mapped pages that were read."""
        for columns in self.columns.values():
            if isinstance(columns, MappedColumns):
                columns.release()

    def _decode(self, row: int) -> Sentence:
        tokens, lines = self.columns["tokens"], self.columns["lines"]
        text_bytes, token_rows, line_rows = _slice(self.columns["texts"], row), _slice(tokens, row), _slice(lines, row)
        return Sentence(
            self.columns["texts"].arrays["bytes"][text_bytes].tobytes().decode("utf-8", "surrogatepass"),
            tokens.arrays["starts"][token_rows].tolist(),
            tokens.arrays["ends"][token_rows].tolist(),
            [TokenSpan(*span) for span in self._spans("spans", row)] if self.labeled else None,
            lines.arrays["lines"][line_rows].tolist(),
            [CharSpan(*span) for span in self._spans("unaligned", row)],
        )

    def _spans(self, name: str, row: int) -> Iterator[tuple[int, int, str]]:
        columns = self.columns[name]
        rows = _slice(columns, row)
        if rows.start < rows.stop:
            numbers = columns.arrays["labels"][rows].tolist()
            for (start, end), number in zip(columns.arrays["bounds"][rows].tolist(), numbers, strict=True):
                yield start, end, self.labels[number]

    @cached_property
    def lengths(self) -> Places:
        """(sentences,) number of tokens of each sentence."""
        lengths = _lengths(self.columns["tokens"], self.rows)
        self.release()
        return lengths

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(sentences,) hash of the tokens of each sentence."""
        hashes: NDArray[np.uint64] = self.columns["hashes"].arrays["tokens"][self.rows]
        self.release()
        return hashes

    def count(self, *names: str) -> int:
        """Count the spans of the sentences.

        Args:
            names: "spans", "unaligned" or both.

        Returns:
            Number of spans in these columns.
        """
        total = sum(int(_lengths(self.columns[name], self.rows).sum()) for name in names)
        self.release()
        return total

    def labels_in(self, *names: str) -> set[str]:
        """Collect the labels of the sentences' spans.

        Args:
            names: "spans", "unaligned" or both.

        Returns:
            Labels that occur in these columns.
        """
        used = np.zeros(len(self.labels), dtype=np.bool_)
        for name in names:
            for start in range(0, len(self.rows), _CHUNK):
                used[self._numbers(name, self.rows[start : start + _CHUNK])[0]] = True
            self.release()
        return {self.labels[number] for number in np.flatnonzero(used).tolist()}

    def sentences_by_label(self, places: Places | None = None) -> Places:
        """Count the sentences that have a span with each label.

        Meant to be called many times: the memory of the pages is not released until `release` is called.

        Args:
            places: Indices of the sentences to count. None: all.

        Returns:
            (labels,) number of sentences for each of `labels`.
        """
        rows = self.rows if places is None else self.rows[places]
        counts = np.zeros(len(self.labels), dtype=np.int64)
        for start in range(0, len(rows), _CHUNK):
            numbers, owners = self._numbers("spans", rows[start : start + _CHUNK])
            once = np.unique(owners * len(self.labels) + numbers)
            counts += np.bincount(once % max(len(self.labels), 1), minlength=len(self.labels))
        return counts

    def _numbers(self, name: str, rows: Places) -> tuple[Places, Places]:
        """Return the label numbers of the spans in these rows, and each span's index in `rows`."""
        columns = self.columns[name]
        lengths = _lengths(columns, rows)
        owners = np.repeat(np.arange(len(rows)), lengths)
        shift = columns.offsets[rows] - np.cumsum(lengths) + lengths
        places = shift[owners] + np.arange(len(owners))
        return columns.arrays["labels"][places].astype(np.int64), owners


def _slice(columns: RaggedColumns, row: int) -> slice:
    return slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))


def _lengths(columns: RaggedColumns, rows: Places) -> Places:
    lengths: Places = columns.offsets[rows + 1] - columns.offsets[rows]
    return lengths


def sentence_columns(sentences: Sequence[Sentence], labels: dict[str, int]) -> dict[str, RaggedColumns]:
    """Encode sentences as the columns of `StoredSentences`.

    Args:
        sentences: The sentences.
        labels: Number of each known label; labels that are new in these sentences are added.

    Returns:
        Columns by name, a row for each sentence.
    """
    texts = [sentence.text.encode("utf-8", "surrogatepass") for sentence in sentences]
    tokens = {
        "starts": _flatten([sentence.starts for sentence in sentences]),
        "ends": _flatten([sentence.ends for sentence in sentences]),
    }
    hashes = np.array([_token_hash(sentence) for sentence in sentences], dtype=np.uint64)
    return {
        "texts": RaggedColumns({"bytes": np.frombuffer(b"".join(texts), dtype=np.uint8)}, _offsets(map(len, texts))),
        "tokens": RaggedColumns(tokens, _offsets(map(len, sentences))),
        "lines": RaggedColumns(
            {"lines": _flatten([sentence.lines for sentence in sentences])},
            _offsets(len(sentence.lines) for sentence in sentences),
        ),
        "spans": _span_columns([sentence.spans or [] for sentence in sentences], labels),
        "unaligned": _span_columns([sentence.unaligned for sentence in sentences], labels),
        "hashes": RaggedColumns({"tokens": hashes}, np.arange(len(sentences) + 1, dtype=np.int64)),
    }


def _span_columns(spans: Sequence[Sequence[TokenSpan | CharSpan]], labels: dict[str, int]) -> RaggedColumns:
    flat = [span for each in spans for span in each]
    numbers = np.array([labels.setdefault(span.label, len(labels)) for span in flat], dtype=np.int32)
    bounds = np.array([(span.start, span.end) for span in flat], dtype=np.int64).reshape(-1, 2)
    return RaggedColumns({"bounds": bounds, "labels": numbers}, _offsets(map(len, spans)))


def _flatten(values: Sequence[Sequence[int]]) -> Places:
    return np.fromiter((value for each in values for value in each), dtype=np.int64)


def _offsets(lengths: Iterable[int]) -> Places:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _token_hash(sentence: Sentence) -> int:
    tokens = sentence.tokens
    return text_hash("\0".join([*map(str, map(len, tokens)), *tokens]))


def to_stored_sentences(sentences: Sequence[Sentence]) -> StoredSentences:
    """Return the sentences as `StoredSentences`, encoding them if necessary.

    Args:
        sentences: The sentences, stored as columns or not.

    Returns:
        The same object if the sentences are stored as columns already, otherwise columns in memory.
    """
    return sentences if isinstance(sentences, StoredSentences) else StoredSentences.from_sentences(sentences)


def select_sentences(sentences: Sequence[Sentence], places: Places) -> Sequence[Sentence]:
    """Select sentences by index, without decoding those that are stored as columns.

    Args:
        sentences: The sentences.
        places: Indices of the sentences, in any order.

    Returns:
        The selected sentences.
    """
    if isinstance(sentences, StoredSentences):
        return sentences.select(places)
    return [sentences[place] for place in places.tolist()]


def cache_source(sentences: Sequence[Sentence]) -> tuple[str | None, Places]:
    """Look up the cache entry that sentences are stored in.

    Args:
        sentences: The sentences.

    Returns:
        Cache key of the entry (None: not cached), and the rows of the sentences there.
    """
    if isinstance(sentences, StoredSentences):
        return sentences.source, sentences.rows
    return None, np.arange(len(sentences))


class SentenceTokens(Sequence[Sequence[str]]):
    """The token lists of sentences, created on access."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentences = sentences

    def __len__(self) -> int:
        return len(self._sentences)

    @overload
    def __getitem__(self, index: int) -> Sequence[str]: ...
    @overload
    def __getitem__(self, index: slice) -> SentenceTokens: ...

    def __getitem__(self, index: int | slice) -> Sequence[str] | SentenceTokens:
        if isinstance(index, slice):
            return SentenceTokens(self._sentences[index])
        return self._sentences[index].tokens

    def __iter__(self) -> Iterator[list[str]]:
        return (sentence.tokens for sentence in self._sentences)
