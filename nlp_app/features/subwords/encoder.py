"""Encode sentences and texts as windows of subwords, for models with a limited input length.

A sentence or text that is too long for one window is split into several windows that overlap, so that nothing is cut
off and every token is read with context on both sides. The scores of a token come from one window, the one with the
most context around it; this window owns the token:

    tokens     0 1 2 3 4 5 6 7 8 9
    window 0   0 1 2 3|4 5              owns 0 to 3
    window 1       2 3 4 5|6 7          owns 4 and 5
    window 2           4 5|6 7 8 9      owns 6 to 9

There is one limit: if a token has more subwords than fit into a window, only the first ones are used, and the token is
counted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import TokenSpan
from nlp_app.features.subwords.casing import casing_kinds
from nlp_app.features.subwords.tokenizer import SubwordIds, SubwordTokenizer
from nlp_app.storage.ragged import Array, RaggedColumns, collate
from nlp_app.text.spacing import is_unspaced

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class SubwordSentences:
    """Sentences as windows of subwords. A sentence without tokens has no window.

    Attributes:
        pieces: A row for each window; array "ids" (int32) of its subwords, including special ones. With `capitals`,
            also array "capitals" (int8): the casing kind of each subword's token (see `features.subwords.casing`), 0
            for special subwords.
        tokens: A row for each window, with the tokens that it owns; arrays "starts" and "ends" (int32): the range of
            each token's subwords in the window, end exclusive. Concatenated, the rows are the tokens of all sentences,
            in order.
        offsets: (sentences + 1,) offsets of the sentences' tokens.
        windows: (sentences + 1,) offsets of the sentences' windows.
        cut: Number of tokens with more subwords than fit into a window; only their first subwords are used.
    """

    pieces: RaggedColumns
    tokens: RaggedColumns
    offsets: Offsets
    windows: Offsets
    cut: int = 0


@dataclass(frozen=True)
class SubwordTexts:
    """Whole texts as windows of subwords.

    Attributes:
        pieces: A row for each window; array "ids" (int32) of its subwords, including special ones.
        windows: (texts + 1,) offsets of the texts' windows; each text has at least one.
    """

    pieces: RaggedColumns
    windows: Offsets


class SubwordWindow(NamedTuple):
    """A range of a sentence's tokens.

    Attributes:
        start: First token.
        end: End of the range, exclusive.
        owned: First token that the window owns; it owns all tokens from there to the next window's `owned`.
    """

    start: int
    end: int
    owned: int


class SubwordEncoder:
    """An encoder of sentences and texts as windows of subwords.

    Args:
        tokenizer: The tokenizer of the pretrained model.
        window: Maximum number of subwords in a window, including special ones.
        overlap: Number of tokens (`encode`) or subwords (`encode_texts`) that neighboring windows share. It is less if
            they would fill more than half a window, and more at the end of a text, whose last window is as full as the
            others.
        capitals: True if `encode` also returns the casing kind of each token.

    Raises:
        SettingsError: A window has no room for a subword besides the special ones, or the overlap is negative.
    """

    def __init__(self, tokenizer: SubwordTokenizer, window: int, overlap: int, capitals: bool = False) -> None:
        specials = len(tokenizer.prefix) + len(tokenizer.suffix)
        if window <= specials:
            raise SettingsError(
                f"model.window_subwords: found {window} subwords, expected at least {specials + 1}: "
                f"{specials} of them are special"
            )
        if overlap < 0:
            raise SettingsError(f"model.window_overlap: found {overlap}, expected at least 0")
        self.tokenizer, self.window, self.overlap, self.capitals = tokenizer, window, overlap, capitals
        self._capacity = window - specials

    def encode(
        self, sentences: Iterable[Sequence[str]], spans: Sequence[Sequence[TokenSpan]] | None = None
    ) -> SubwordSentences:
        """Encode sentences.

        Args:
            sentences: The sentences, as token forms.
            spans: Gold entities of each sentence, which don't overlap. An entity that fits into a window is then never
                split between two windows.

        Returns:
            The windows of the sentences.

        Raises:
            ModelError: A token has no subwords, and there is no unknown subword.
        """
        forms, offsets = _flatten(sentences)
        complete = self.tokenizer.token_subwords(forms, self._spaced(forms, offsets))
        subwords = [ids if len(ids) <= self._capacity else ids[: self._capacity] for ids in complete]
        cut = sum(len(ids) > self._capacity for ids in complete)
        places = _offsets(map(len, subwords), len(subwords))
        windows, counts = self._windows(places, offsets, spans)
        starts, ends, owned = windows.T
        arrays: dict[str, Array] = {"ids": _concatenate(subwords)}
        if self.capitals:
            arrays["capitals"] = np.repeat(casing_kinds(forms), np.diff(places))
        columns = self._add_specials(arrays, places[starts], places[ends])
        token_offsets = np.append(owned, len(forms))
        shift = np.repeat(places[starts] - len(self.tokenizer.prefix), np.diff(token_offsets))
        bounds = {"starts": (places[:-1] - shift).astype(np.int32), "ends": (places[1:] - shift).astype(np.int32)}
        return SubwordSentences(
            columns, RaggedColumns(bounds, token_offsets), offsets, _offsets(counts, len(counts)), cut
        )

    def encode_texts(self, texts: Iterable[str]) -> SubwordTexts:
        """Encode whole texts, with the same subwords as the pretrained model's own tokenizer.

        A text without subwords becomes a window of special subwords only, or of the unknown subword if there are no
        special ones.

        Args:
            texts: The texts.

        Returns:
            The windows of the texts.

        Raises:
            ModelError: The tokenizer cannot split a text.
        """
        tokenizer = self.tokenizer
        subwords = tokenizer.text_subwords(list(texts))
        if not tokenizer.prefix + tokenizer.suffix:
            stand_in = np.array([tokenizer.padding if tokenizer.unknown is None else tokenizer.unknown], dtype=np.int32)
            subwords = [ids if len(ids) else stand_in for ids in subwords]
        places = _offsets(map(len, subwords), len(subwords))
        step = self._capacity - min(self.overlap, self._capacity // 2)
        last_start = np.maximum(np.diff(places) - self._capacity, 0)  # of the text's last window
        windows = _offsets(1 - (-last_start // step), len(subwords))
        counts = np.diff(windows)
        number = np.arange(windows[-1]) - np.repeat(windows[:-1], counts)
        starts = np.repeat(places[:-1], counts) + np.minimum(number * step, np.repeat(last_start, counts))
        ends = np.minimum(starts + self._capacity, np.repeat(places[1:], counts))
        return SubwordTexts(self._add_specials({"ids": _concatenate(subwords)}, starts, ends), windows)

    def _spaced(self, forms: Sequence[str], offsets: Offsets) -> list[bool]:
        """Decide for each token if a space precedes it, from the forms alone, like `spacing.between_words`."""
        first, last = [form[:1] for form in forms], [form[-1:] for form in forms]
        known = {character: character != "" and is_unspaced(character) for character in {*first, *last}}
        opening = np.fromiter(map(known.__getitem__, first), dtype=np.bool_, count=len(forms))
        closing = np.fromiter(map(known.__getitem__, last), dtype=np.bool_, count=len(forms))
        spaced = ~opening
        spaced[1:] &= ~closing[:-1]
        spaced[offsets[:-1][np.diff(offsets) > 0]] = self.tokenizer.spaced_start
        result: list[bool] = spaced.tolist()
        return result

    def _windows(
        self, places: Offsets, offsets: Offsets, spans: Sequence[Sequence[TokenSpan]] | None
    ) -> tuple[Offsets, Offsets]:
        """Split the sentences into windows.

        Returns (windows, 3) starts, ends and first owned tokens, numbered across all sentences; and the number of
        windows of each sentence.
        """
        counts = (np.diff(offsets) > 0).astype(np.int64)
        long = np.flatnonzero(np.diff(places[offsets]) > self._capacity).tolist()
        windows_of_long: list[Offsets] = []
        for row in long:
            first, end = int(offsets[row]), int(offsets[row + 1])
            gold = spans[row] if spans is not None else ()
            windows = list(_split(_LongSentence(places[first : end + 1].tolist(), self._capacity, gold), self.overlap))
            counts[row] = len(windows)
            windows_of_long.append(np.array(windows, dtype=np.int64) + first)
        rows = np.repeat(np.stack([offsets[:-1], offsets[1:], offsets[:-1]], axis=1), counts, axis=0)
        ends = np.cumsum(counts)
        for row, windows_of_row in zip(long, windows_of_long, strict=True):
            rows[ends[row] - counts[row] : ends[row]] = windows_of_row
        return rows, counts

    def _add_specials(self, arrays: Mapping[str, Array], starts: Offsets, ends: Offsets) -> RaggedColumns:
        """Build windows of the subwords `starts` to `ends`, with special subwords (0 in other columns) around each."""
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        lengths = ends - starts
        rows = _offsets(lengths + len(prefix) + len(suffix), len(lengths))
        inner = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source, target = np.repeat(starts, lengths) + inner, np.repeat(rows[:-1] + len(prefix), lengths) + inner
        padded = {name: np.zeros(rows[-1], dtype=array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            padded[name][target] = array[source]
        for place, special in enumerate(prefix):
            padded["ids"][rows[:-1] + place] = special
        for place, special in enumerate(reversed(suffix), start=1):
            padded["ids"][rows[1:] - place] = special
        return RaggedColumns(padded, rows)


class _LongSentence:
    """A sentence that is too long for one window.

    `places` (tokens + 1,) has the number of subwords before each token, in ascending order. `capacity` is the maximum
    number of subwords in a window, without special ones; each token fits.
    """

    def __init__(self, places: Sequence[int], capacity: int, spans: Sequence[TokenSpan]) -> None:
        self.places, self.capacity = places, capacity
        self._spans = sorted((span.start, span.end) for span in spans)

    def __len__(self) -> int:
        return len(self.places) - 1

    def fits(self, start: int, end: int) -> bool:
        return self.places[end] - self.places[start] <= self.capacity

    def end(self, start: int) -> int:
        """Return the end of the longest window that starts at `start`."""
        return bisect_right(self.places, self.places[start] + self.capacity) - 1

    def start(self, end: int, capacity: int) -> int:
        """Return the start of the longest range of at most `capacity` subwords that ends at `end`."""
        return bisect_left(self.places, self.places[end] - capacity)

    def next_start(self, end: int, overlap: int) -> int:
        """Return the start of the window after one that ends at `end`, before the end of the sentence."""
        # A window that shares half of its subwords or more with the previous one would hardly advance. It must also
        # contain a new token.
        start = max(end - overlap, self.start(end, self.capacity // 2), self.start(end + 1, self.capacity))
        return self.start(len(self), self.capacity) if self.fits(start, len(self)) else start

    def span_across(self, place: int) -> tuple[int, int] | None:
        """Find the span that has tokens on both sides of `place`."""
        row = bisect_left(self._spans, (place, 0)) - 1
        return self._spans[row] if row >= 0 and self._spans[row][1] > place else None


def _split(sentence: _LongSentence, overlap: int) -> Iterator[SubwordWindow]:
    """Split a long sentence into windows.

    The boundary of ownership between two windows is the middle of their overlap, moved to the nearest edge of a span if
    it would split the span.
    """
    start, owned = 0, 0
    end = sentence.end(start)
    while end < len(sentence):
        following = sentence.next_start(end, overlap)
        boundary = max((following + end) // 2, owned + 1)  # every window owns at least one token
        span = sentence.span_across(boundary)
        if span is not None:
            edges = [edge for edge in span if max(following, owned + 1) <= edge <= end]
            if edges:
                boundary = min(edges, key=lambda edge: abs(edge - boundary))
            elif sentence.fits(*span) and span[0] > owned:
                following = boundary = span[0]
            elif sentence.fits(*span) and span[0] == owned:
                # The span fits into this window only without the context before it.
                start, end = span[0], sentence.end(span[0])
                continue
        yield SubwordWindow(start, end, owned)
        start, end, owned = following, sentence.end(following), boundary
    yield SubwordWindow(sentence.start(len(sentence), sentence.capacity), len(sentence), owned)


def collate_sentences(
    encoded: SubwordSentences, windows: Sequence[int] | NDArray[np.int64], padding: int
) -> dict[str, Array]:
    """Build a padded batch of windows of sentences.

    Args:
        encoded: The encoded sentences.
        windows: Numbers of the windows.
        padding: Id that fills the batch.

    Returns:
        "input_ids" and "attention_mask" (windows, subwords), int64; "capitals" (windows, subwords), int64, if they were
        encoded; "starts" and "ends" (windows, tokens), int64, ranges of the owned tokens' subwords; "mask" (windows,
        tokens), True for tokens. The padding of "starts" and "ends" is the range of the first subword.
    """
    tokens = collate(encoded.tokens, windows)
    mask = tokens["mask"]
    return {
        **_inputs(encoded.pieces, windows, padding),
        "starts": tokens["starts"].astype(np.int64),
        "ends": np.where(mask, tokens["ends"], 1).astype(np.int64),
        "mask": mask,
    }


def collate_texts(encoded: SubwordTexts, windows: Sequence[int] | NDArray[np.int64], padding: int) -> dict[str, Array]:
    """Build a padded batch of windows of texts.

    Args:
        encoded: The encoded texts.
        windows: Numbers of the windows.
        padding: Id that fills the batch.

    Returns:
        "input_ids" and "attention_mask" (windows, subwords), int64.
    """
    return _inputs(encoded.pieces, windows, padding)


def _inputs(pieces: RaggedColumns, windows: Sequence[int] | NDArray[np.int64], padding: int) -> dict[str, Array]:
    batch = collate(pieces, windows)
    mask, ids = batch.pop("mask"), batch.pop("ids")
    return {
        "input_ids": np.where(mask, ids, padding).astype(np.int64),
        "attention_mask": mask.astype(np.int64),
        **{name: array.astype(np.int64) for name, array in batch.items()},
    }


def _flatten(sentences: Iterable[Sequence[str]]) -> tuple[list[str], Offsets]:
    forms: list[str] = []
    ends = [0]
    for sentence in sentences:
        forms.extend(sentence)
        ends.append(len(forms))
    return forms, np.array(ends, dtype=np.int64)


def _offsets(lengths: Iterable[int], count: int) -> Offsets:
    """Return (count + 1,) cumulative lengths, starting with 0."""
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, dtype=np.int64, count=count), out=offsets[1:])
    return offsets


def _concatenate(subwords: Sequence[SubwordIds]) -> SubwordIds:
    return np.concatenate([np.empty(0, dtype=np.int32), *subwords])
