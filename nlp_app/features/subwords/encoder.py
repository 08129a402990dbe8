"""Sentences and texts as windows of pieces, for models that read so many pieces at a time and no more.

What is too long for one window is read in several that overlap, so that nothing is cut off and every token is read
with context on both sides. Each token is answered for by one window, the one where it has the most context:

    tokens     0 1 2 3 4 5 6 7 8 9
    window 0   0 1 2 3|4 5              answers for 0 to 3
    window 1       2 3 4 5|6 7          answers for 4 and 5
    window 2           4 5|6 7 8 9      answers for 6 to 9

The only limit: of a token with more pieces than a window holds, the first ones are read, and it is counted.
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
from nlp_app.features.subwords.tokenizer import Pieces, SubwordTokenizer
from nlp_app.storage.ragged import Array, RaggedColumns, collate
from nlp_app.text.spacing import is_unspaced

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class SubwordSentences:
    """Sentences as windows of pieces. A sentence without tokens has no window.

    pieces: a row a window; array "ids" (int32), special pieces included; with capitals also "capitals" (int8), how the
        token is written to which a piece belongs, as in `features.subwords.casing`, 0 for special pieces
    tokens: a row a window, of the tokens that it answers for; arrays "starts" and "ends" (int32): where in the window
        the pieces of each token stand, end exclusive. All rows together are the tokens of all sentences, in order.
    offsets: (sentences + 1,) tokens; windows: (sentences + 1,) windows
    cut: tokens of more pieces than a window holds, of which the first ones are read
    """

    pieces: RaggedColumns
    tokens: RaggedColumns
    offsets: Offsets
    windows: Offsets
    cut: int = 0


@dataclass(frozen=True)
class SubwordTexts:
    """Whole texts as windows of pieces.

    pieces: a row a window; array "ids" (int32), special pieces included; windows: (texts + 1,), at least one a text
    """

    pieces: RaggedColumns
    windows: Offsets


class SubwordWindow(NamedTuple):
    """A run of a sentence's tokens. It answers for those from `answers` to the next window's `answers`."""

    start: int
    end: int
    answers: int


class SubwordEncoder:
    """Sentences and texts in, windows of pieces out.

    window: pieces that a window holds at most, special pieces included
    overlap: tokens (`encode`) or pieces (`encode_texts`) that neighboring windows share; less where they would fill
        more than half a window, more at the end of a text, whose last window is as full as the others
    capitals: whether `encode` says how each token is written
    """

    def __init__(self, tokenizer: SubwordTokenizer, window: int, overlap: int, capitals: bool = False) -> None:
        """Raises SettingsError if a window has no room for a piece, or the overlap is negative."""
        specials = len(tokenizer.prefix) + len(tokenizer.suffix)
        if window <= specials:
            raise SettingsError(
                f"model.window_subwords: found {window} pieces, expected at least {specials + 1}: "
                f"{specials} of them are special"
            )
        if overlap < 0:
            raise SettingsError(f"model.window_overlap: found {overlap}, expected at least 0")
        self.tokenizer, self.window, self.overlap, self.capitals = tokenizer, window, overlap, capitals
        self._room = window - specials

    def encode(
        self, sentences: Iterable[Sequence[str]], spans: Sequence[Sequence[TokenSpan]] | None = None
    ) -> SubwordSentences:
        """The windows of sentences of token forms.

        spans: each sentence's gold entities, which don't overlap; no entity that fits a window is then divided between
        two. Raises ModelError for a token that has no piece.
        """
        forms, offsets = _flatten(sentences)
        whole = self.tokenizer.token_pieces(forms, self._spaced(forms, offsets))
        pieces = [ids if len(ids) <= self._room else ids[: self._room] for ids in whole]
        cut = sum(len(ids) > self._room for ids in whole)
        places = _offsets(map(len, pieces), len(pieces))
        windows, counts = self._windows(places, offsets, spans)
        starts, ends, answers = windows.T
        arrays: dict[str, Array] = {"ids": _concatenated(pieces)}
        if self.capitals:
            arrays["capitals"] = np.repeat(casing_kinds(forms), np.diff(places))
        columns = self._enclosed(arrays, places[starts], places[ends])
        answered = np.append(answers, len(forms))
        shift = np.repeat(places[starts] - len(self.tokenizer.prefix), np.diff(answered))
        bounds = {"starts": (places[:-1] - shift).astype(np.int32), "ends": (places[1:] - shift).astype(np.int32)}
        return SubwordSentences(columns, RaggedColumns(bounds, answered), offsets, _offsets(counts, len(counts)), cut)

    def encode_texts(self, texts: Iterable[str]) -> SubwordTexts:
        """The windows of whole texts, whose pieces are those of the pretrained model's own tokenizer. A text without
        pieces is one window of special pieces alone, or of the unknown piece if there are none."""
        tokenizer = self.tokenizer
        pieces = tokenizer.text_pieces(list(texts))
        if not tokenizer.prefix + tokenizer.suffix:
            stand_in = np.array([tokenizer.padding if tokenizer.unknown is None else tokenizer.unknown], dtype=np.int32)
            pieces = [ids if len(ids) else stand_in for ids in pieces]
        places = _offsets(map(len, pieces), len(pieces))
        step = self._room - min(self.overlap, self._room // 2)
        beyond = np.maximum(np.diff(places) - self._room, 0)  # the last window's start
        windows = _offsets(1 - (-beyond // step), len(pieces))
        counts = np.diff(windows)
        number = np.arange(windows[-1]) - np.repeat(windows[:-1], counts)
        starts = np.repeat(places[:-1], counts) + np.minimum(number * step, np.repeat(beyond, counts))
        ends = np.minimum(starts + self._room, np.repeat(places[1:], counts))
        return SubwordTexts(self._enclosed({"ids": _concatenated(pieces)}, starts, ends), windows)

    def _spaced(self, forms: Sequence[str], offsets: Offsets) -> list[bool]:
        """Whether a space stands before each token, from the forms alone: as `alignment.between_words`."""
        first, last = [form[:1] for form in forms], [form[-1:] for form in forms]
        known = {character: character != "" and is_unspaced(character) for character in {*first, *last}}
        opening = np.fromiter(map(known.__getitem__, first), dtype=np.bool_, count=len(forms))
        closing = np.fromiter(map(known.__getitem__, last), dtype=np.bool_, count=len(forms))
        spaced = ~opening
        spaced[1:] &= ~closing[:-1]
        spaced[offsets[:-1][np.diff(offsets) > 0]] = self.tokenizer.spaced_start
        answer: list[bool] = spaced.tolist()
        return answer

    def _windows(
        self, places: Offsets, offsets: Offsets, spans: Sequence[Sequence[TokenSpan]] | None
    ) -> tuple[Offsets, Offsets]:
        """(windows, 3) starts, ends and first answers in tokens of the corpus; and windows of each sentence."""
        counts = (np.diff(offsets) > 0).astype(np.int64)
        long = np.flatnonzero(np.diff(places[offsets]) > self._room).tolist()
        divided: list[Offsets] = []
        for row in long:
            first, end = int(offsets[row]), int(offsets[row + 1])
            gold = spans[row] if spans is not None else ()
            windows = list(_divided(_Sentence(places[first : end + 1].tolist(), self._room, gold), self.overlap))
            counts[row] = len(windows)
            divided.append(np.array(windows, dtype=np.int64) + first)
        rows = np.repeat(np.stack([offsets[:-1], offsets[1:], offsets[:-1]], axis=1), counts, axis=0)
        ends = np.cumsum(counts)
        for row, windows_of_row in zip(long, divided, strict=True):
            rows[ends[row] - counts[row] : ends[row]] = windows_of_row
        return rows, counts

    def _enclosed(self, arrays: Mapping[str, Array], starts: Offsets, ends: Offsets) -> RaggedColumns:
        """Windows of the pieces `starts` to `ends`, with special pieces around each; of what else is known of pieces, 0
        stands there."""
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        lengths = ends - starts
        rows = _offsets(lengths + len(prefix) + len(suffix), len(lengths))
        inner = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        here, there = np.repeat(starts, lengths) + inner, np.repeat(rows[:-1] + len(prefix), lengths) + inner
        enclosed = {name: np.zeros(rows[-1], dtype=array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            enclosed[name][there] = array[here]
        for place, special in enumerate(prefix):
            enclosed["ids"][rows[:-1] + place] = special
        for place, special in enumerate(reversed(suffix), start=1):
            enclosed["ids"][rows[1:] - place] = special
        return RaggedColumns(enclosed, rows)


class _Sentence:
    """A sentence that is too long for one window.

    places: (tokens + 1,) ascending, pieces before each token; room: pieces that a window holds, at least those of any
    token
    """

    def __init__(self, places: Sequence[int], room: int, spans: Sequence[TokenSpan]) -> None:
        self.places, self.room = places, room
        self._spans = sorted((span.start, span.end) for span in spans)

    def __len__(self) -> int:
        return len(self.places) - 1

    def fits(self, start: int, end: int) -> bool:
        return self.places[end] - self.places[start] <= self.room

    def end(self, start: int) -> int:
        """Of the fullest window that begins at `start`."""
        return bisect_right(self.places, self.places[start] + self.room) - 1

    def start(self, end: int, room: int) -> int:
        """Of the fullest run of `room` pieces that ends at `end`."""
        return bisect_left(self.places, self.places[end] - room)

    def next_start(self, end: int, overlap: int) -> int:
        """Where the window after one that ends at `end`, which is not the sentence's, begins."""
        # One that shares half its pieces or more with its neighbor would hardly go forward, and it has to hold a new
        # token.
        start = max(end - overlap, self.start(end, self.room // 2), self.start(end + 1, self.room))
        return self.start(len(self), self.room) if self.fits(start, len(self)) else start

    def divided(self, place: int) -> tuple[int, int] | None:
        """The span that has tokens on both sides of `place`."""
        row = bisect_left(self._spans, (place, 0)) - 1
        return self._spans[row] if row >= 0 and self._spans[row][1] > place else None


def _divided(sentence: _Sentence, overlap: int) -> Iterator[SubwordWindow]:
    """The windows of a long sentence."""
    start, answers = 0, 0
    end = sentence.end(start)
    while end < len(sentence):
        following = sentence.next_start(end, overlap)
        seam = max((following + end) // 2, answers + 1)  # every window answers for something
        span = sentence.divided(seam)
        if span is not None:
            beside = [place for place in span if max(following, answers + 1) <= place <= end]
            if beside:
                seam = min(beside, key=lambda place: abs(place - seam))
            elif sentence.fits(*span) and span[0] > answers:
                following = seam = span[0]
            elif sentence.fits(*span) and span[0] == answers:
                # Only without the context before it does this window hold the span.
                start, end = span[0], sentence.end(span[0])
                continue
        yield SubwordWindow(start, end, answers)
        start, end, answers = following, sentence.end(following), seam
    yield SubwordWindow(sentence.start(len(sentence), sentence.room), len(sentence), answers)


def collate_sentences(
    encoded: SubwordSentences, windows: Sequence[int] | NDArray[np.int64], padding: int
) -> dict[str, Array]:
    """The windows as padded arrays: "input_ids" and "attention_mask" (windows, pieces) int64, "capitals" likewise if
    they were encoded; "starts" and "ends" (windows, tokens) int64 and "mask" (windows, tokens), True for tokens. Where
    there is no token, a token of the first piece stands."""
    tokens = collate(encoded.tokens, windows)
    mask = tokens["mask"]
    return {
        **_inputs(encoded.pieces, windows, padding),
        "starts": tokens["starts"].astype(np.int64),
        "ends": np.where(mask, tokens["ends"], 1).astype(np.int64),
        "mask": mask,
    }


def collate_texts(encoded: SubwordTexts, windows: Sequence[int] | NDArray[np.int64], padding: int) -> dict[str, Array]:
    """The windows as padded arrays: "input_ids" and "attention_mask" (windows, pieces) int64."""
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
    """(count + 1,) from 0 on."""
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, dtype=np.int64, count=count), out=offsets[1:])
    return offsets


def _concatenated(pieces: Sequence[Pieces]) -> Pieces:
    return np.concatenate([np.empty(0, dtype=np.int32), *pieces])
