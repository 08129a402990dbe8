"""Sentences as columns, in memory or in files: of a corpus that memory would not hold, those that are looked at."""

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

_TOGETHER = 1000  # sentences that are looked at before their pages are let go


class StoredSentences(Sequence[Sentence]):
    """Sentences that are made when they are asked for.

    columns: by name, a row a sentence: "texts" (array "bytes", UTF-8), "tokens" ("starts", "ends"), "lines" ("lines"),
        "spans" and "unaligned" ("bounds" (spans, 2), "labels": numbers of `labels`), "hashes" ("tokens": one each)
    labels: what spans carry; labeled: whether they have spans at all; source: the key of where they are kept, None if
        nowhere; rows: which sentences, all if None
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
    def of(cls, sentences: Sequence[Sentence]) -> StoredSentences:
        """Sentences in memory."""
        labels: dict[str, int] = {}
        columns = sentence_columns(sentences, labels)
        return cls(columns, tuple(labels), any(sentence.spans is not None for sentence in sentences))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Sentence: ...
    @overload
    def __getitem__(self, place: slice) -> StoredSentences: ...

    def __getitem__(self, place: int | slice) -> Sentence | StoredSentences:
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        return self._made(int(self.rows[place]))

    def __iter__(self) -> Iterator[Sentence]:
        for start in range(0, len(self.rows), _TOGETHER):
            yield from map(self._made, self.rows[start : start + _TOGETHER].tolist())
            self.release()

    def select(self, places: Places) -> StoredSentences:
        """The sentences at these places."""
        return StoredSentences(self.columns, self.labels, self.labeled, self.source, self.rows[places])

    def release(self) -> None:
        """Let go of the memory that looking at sentences took."""
        for columns in self.columns.values():
            if isinstance(columns, MappedColumns):
                columns.release()

    def _made(self, row: int) -> Sentence:
        tokens, lines = self.columns["tokens"], self.columns["lines"]
        text, where, which = _slice(self.columns["texts"], row), _slice(tokens, row), _slice(lines, row)
        return Sentence(
            self.columns["texts"].arrays["bytes"][text].tobytes().decode("utf-8", "surrogatepass"),
            tokens.arrays["starts"][where].tolist(),
            tokens.arrays["ends"][where].tolist(),
            [TokenSpan(*span) for span in self._spans("spans", row)] if self.labeled else None,
            lines.arrays["lines"][which].tolist(),
            [CharSpan(*span) for span in self._spans("unaligned", row)],
        )

    def _spans(self, name: str, row: int) -> Iterator[tuple[int, int, str]]:
        columns = self.columns[name]
        which = _slice(columns, row)
        if which.start < which.stop:
            numbers = columns.arrays["labels"][which].tolist()
            for (start, end), number in zip(columns.arrays["bounds"][which].tolist(), numbers, strict=True):
                yield start, end, self.labels[number]

    @cached_property
    def lengths(self) -> Places:
        """(sentences,) tokens of each."""
        found = _lengths(self.columns["tokens"], self.rows)
        self.release()
        return found

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(sentences,) a hash of the tokens of each."""
        found: NDArray[np.uint64] = self.columns["hashes"].arrays["tokens"][self.rows]
        self.release()
        return found

    def count(self, *names: str) -> int:
        """How many `spans`, `unaligned` or both they have."""
        found = sum(int(_lengths(self.columns[name], self.rows).sum()) for name in names)
        self.release()
        return found

    def labels_in(self, *names: str) -> set[str]:
        """The labels that `spans`, `unaligned` or both carry."""
        found = np.zeros(len(self.labels), dtype=np.bool_)
        for name in names:
            for start in range(0, len(self.rows), _TOGETHER):
                found[self._numbers(name, self.rows[start : start + _TOGETHER])[0]] = True
            self.release()
        return {self.labels[number] for number in np.flatnonzero(found).tolist()}

    def sentences_by_label(self, places: Places | None = None) -> Places:
        """(labels,) in how many of the sentences (at these places) each label has a span. To be asked many times:
        `release` lets go of what was looked at."""
        rows = self.rows if places is None else self.rows[places]
        counts = np.zeros(len(self.labels), dtype=np.int64)
        for start in range(0, len(rows), _TOGETHER):
            numbers, owners = self._numbers("spans", rows[start : start + _TOGETHER])
            once = np.unique(owners * len(self.labels) + numbers)
            counts += np.bincount(once % max(len(self.labels), 1), minlength=len(self.labels))
        return counts

    def _numbers(self, name: str, rows: Places) -> tuple[Places, Places]:
        """The labels' numbers in these rows, and each one's place among the rows."""
        columns = self.columns[name]
        lengths = _lengths(columns, rows)
        owners = np.repeat(np.arange(len(rows)), lengths)
        shift = columns.offsets[rows] - np.cumsum(lengths) + lengths
        places = shift[owners] + np.arange(len(owners))
        return columns.arrays["labels"][places].astype(np.int64), owners


def _slice(columns: RaggedColumns, row: int) -> slice:
    return slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))


def _lengths(columns: RaggedColumns, rows: Places) -> Places:
    found: Places = columns.offsets[rows + 1] - columns.offsets[rows]
    return found


def sentence_columns(sentences: Sequence[Sentence], labels: dict[str, int]) -> dict[str, RaggedColumns]:
    """The columns of some more sentences, as `StoredSentences` has them; new labels are added to `labels`."""
    texts = [sentence.text.encode("utf-8", "surrogatepass") for sentence in sentences]
    tokens = {
        "starts": _joined([sentence.starts for sentence in sentences]),
        "ends": _joined([sentence.ends for sentence in sentences]),
    }
    hashes = np.array([_token_hash(sentence) for sentence in sentences], dtype=np.uint64)
    return {
        "texts": RaggedColumns({"bytes": np.frombuffer(b"".join(texts), dtype=np.uint8)}, _offsets(map(len, texts))),
        "tokens": RaggedColumns(tokens, _offsets(map(len, sentences))),
        "lines": RaggedColumns(
            {"lines": _joined([sentence.lines for sentence in sentences])},
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


def _joined(values: Sequence[Sequence[int]]) -> Places:
    return np.fromiter((value for each in values for value in each), dtype=np.int64)


def _offsets(lengths: Iterable[int]) -> Places:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _token_hash(sentence: Sentence) -> int:
    tokens = sentence.tokens
    return text_hash("\0".join([*map(str, map(len, tokens)), *tokens]))


def is_cached(sentences: Sequence[Sentence]) -> StoredSentences:
    """The sentences as columns; those that are columns already, as they are."""
    return sentences if isinstance(sentences, StoredSentences) else StoredSentences.of(sentences)


def select_sentences(sentences: Sequence[Sentence], places: Places) -> Sequence[Sentence]:
    """The sentences at these places."""
    if isinstance(sentences, StoredSentences):
        return sentences.select(places)
    return [sentences[place] for place in places.tolist()]


def cache_source(sentences: Sequence[Sentence]) -> tuple[str | None, Places]:
    """The key of where sentences are kept, None if nowhere, and which of those there they are."""
    if isinstance(sentences, StoredSentences):
        return sentences.source, sentences.rows
    return None, np.arange(len(sentences))


class TokensOf(Sequence[Sequence[str]]):
    """The tokens of sentences, a list each, made when they are asked for."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentences = sentences

    def __len__(self) -> int:
        return len(self._sentences)

    @overload
    def __getitem__(self, place: int) -> Sequence[str]: ...
    @overload
    def __getitem__(self, place: slice) -> TokensOf: ...

    def __getitem__(self, place: int | slice) -> Sequence[str] | TokensOf:
        if isinstance(place, slice):
            return TokensOf(self._sentences[place])
        return self._sentences[place].tokens

    def __iter__(self) -> Iterator[list[str]]:
        return (sentence.tokens for sentence in self._sentences)
