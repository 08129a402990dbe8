"""The tagger in memory, asked for spans or tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from nlp_app.errors import ModelError
from nlp_app.modeldir.growing import add_labels
from nlp_app.nn.lattice import Scores, forward_backward
from nlp_app.nn.segments import Segments
from nlp_app.nn.viterbi import best_paths
from nlp_app.predict.emissions import Encoded, emission_batches
from nlp_app.predict.sharing import Shared
from nlp_app.streams import chunks
from nlp_app.types import Span, TokenSpan

if TYPE_CHECKING:
    from nlp_app.modeldir import AnyTaggerParts

Scored = list[tuple[TokenSpan, float]]

_SEGMENT_CELLS = 1 << 20  # of the spans whose probabilities are computed together


class Tagger(Shared["AnyTaggerParts"]):
    """Finds labelled spans in text. Calls change neither their input nor the tagger, which threads may share."""

    def __init__(self, parts: AnyTaggerParts) -> None:
        self.parts = parts
        parts.network.eval()
        # What the tag set computes when first asked is there before threads share it, or a process is forked meanwhile.
        tag_set = parts.tag_set
        _ = tag_set.spans([]), tag_set.written([]), tag_set.boundaries

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a span may have."""
        return self.parts.tag_set.labels

    def add_labels(self, labels: Iterable[str]) -> Tagger:
        """A tagger for these labels too, to be saved and trained further (`model.start`); this one stays as it is.

        Until then it finds what this one finds. Labels known already change nothing. Raises TypeError for one str.
        """
        names = [labels] if isinstance(labels, str) else list(labels)
        if isinstance(labels, str) or not all(isinstance(name, str) for name in names):
            wrong = next((name for name in names if not isinstance(name, str)), labels)
            raise TypeError(
                f"add_labels takes a list of str, found {type(wrong).__name__}: write add_labels(['PRODUCT'])"
            )
        return Tagger(add_labels(self.parts, names))

    @overload
    def tag(self, texts: str) -> list[Span]: ...
    @overload
    def tag(self, texts: list[str] | tuple[str, ...]) -> list[list[Span]]: ...
    def tag(self, texts: str | list[str] | tuple[str, ...]) -> list[Span] | list[list[Span]]:
        """The spans in a raw text, in order; or, for a list of texts, a list for each.

        `span.text == text[span.start:span.end]`; its score is its exact probability under the model.
        """
        if isinstance(texts, str):
            return self.tag([texts])[0]
        _check_texts(texts)
        return [spans for chunk in chunks(texts, len) for spans in self._tag(chunk)]

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag for each token of pre-tokenised sentences: BIO tags, or plain labels where training had no scheme."""
        _check_sentences(sentences)
        encode, written = self.parts.encoder.encode, self.parts.tag_set.written
        return [written(path) for chunk in chunks(sentences, len) for path in _best_paths(self.parts, encode(chunk))]

    def token_spans(self, sentences: Sequence[Sequence[str]]) -> list[list[TokenSpan]]:
        """The spans over the tokens of pre-tokenised sentences."""
        return [[span for span, _ in spans] for spans in self._predict(sentences, scores=False)]

    def scored_spans(self, sentences: Sequence[Sequence[str]]) -> list[Scored]:
        """`token_spans`, each with its probability under the model."""
        return self._predict(sentences, scores=True)

    def _predict(self, sentences: Sequence[Sequence[str]], scores: bool) -> list[Scored]:
        encode = self.parts.encoder.encode
        return [
            found for chunk in chunks(sentences, len) for found in predict_encoded(self.parts, encode(chunk), scores)
        ]

    def _tag(self, texts: Sequence[str]) -> list[list[Span]]:
        tokens = self.parts.tokenizer.batch(texts)
        forms = [
            [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]
            for text, found in zip(texts, tokens, strict=True)
        ]
        return [
            [
                Span(
                    text[found.starts[a] : found.ends[b - 1]],
                    label,
                    found.starts[a],
                    found.ends[b - 1],
                    score,
                )
                for (a, b, label), score in spans
            ]
            for text, found, spans in zip(texts, tokens, self.scored_spans(forms), strict=True)
        ]


@torch.inference_mode()
def _best_paths(parts: AnyTaggerParts, encoded: Encoded) -> list[list[int]]:
    """The tag ids of each encoded sentence."""
    found: list[list[int]] = [[] for _ in encoded.offsets[1:]]
    for rows, emissions, mask in emission_batches(parts, encoded):
        paths = _paths(parts.network.crf.scores(emissions, mask))
        for row, path in zip(rows.tolist(), paths, strict=True):
            found[row] = path
    return found


def _paths(scores: Scores) -> list[list[int]]:
    """The best paths. Raises ModelError where no path has a score that is a finite number."""
    try:
        return best_paths(scores)
    except ValueError as error:
        raise ModelError(f"the model can't tag this text: {error}; train or get the model again") from error


@torch.inference_mode()
def predict_encoded(parts: AnyTaggerParts, encoded: Encoded, scores: bool) -> list[Scored]:
    """The spans of each encoded sentence, with their probabilities (0.0 throughout without `scores`)."""
    results: list[Scored] = [[] for _ in encoded.offsets[1:]]
    for rows, emissions, mask in emission_batches(parts, encoded):
        scored = parts.network.crf.scores(emissions, mask)
        paths = _paths(scored)
        spans = [parts.tag_set.spans(path) for path in paths]
        chances = _probabilities(parts, scored, paths, spans) if scores else None
        for row, found in zip(rows.tolist(), spans, strict=True):
            results[row] = [(span, next(chances) if chances else 0.0) for span in found]
    return results


def _probabilities(
    parts: AnyTaggerParts, scores: Scores, paths: list[list[int]], spans: list[list[TokenSpan]]
) -> Iterator[float]:
    """The posterior probability of each span that the best paths spell, row after row."""
    flat = [(row, span) for row, row_spans in enumerate(spans) for span in row_spans]
    if not flat:
        return
    lattice = forward_backward(scores)
    for some in _runs(flat, len(parts.tag_set.tags)):
        yield from np.exp(lattice.segment_log_probability(_segments(parts, paths, some))).tolist()


def _runs(flat: list[tuple[int, TokenSpan]], tags: int) -> Iterator[list[tuple[int, TokenSpan]]]:
    """Runs of spans whose arrays, as wide as the longest of them or as there are tags, have `_SEGMENT_CELLS` cells."""
    first, widest = 0, tags
    for place, (_, span) in enumerate(flat):
        widest = max(widest, span.end - span.start)
        if place > first and widest * (place + 1 - first) > _SEGMENT_CELLS:
            yield flat[first:place]
            first, widest = place, max(tags, span.end - span.start)
    if first < len(flat):
        yield flat[first:]


def _segments(parts: AnyTaggerParts, paths: list[list[int]], flat: list[tuple[int, TokenSpan]]) -> Segments:
    """What the lattice takes for some spans, each with its row."""
    lengths = np.array([span.end - span.start for _, span in flat])
    tags = np.zeros((len(flat), lengths.max()), dtype=np.int64)
    for place, (row, span) in enumerate(flat):
        tags[place, : lengths[place]] = paths[row][span.start : span.end]
    opens, closes = parts.tag_set.boundaries
    return Segments(
        rows=np.array([row for row, _ in flat]),
        starts=np.array([span.start for _, span in flat]),
        tags=tags,
        lengths=lengths,
        before=opens.T[tags[:, 0]],
        after=closes[tags[np.arange(len(flat)), lengths - 1]],
    )


def _check_texts(texts: Sequence[str]) -> None:
    if not isinstance(texts, list | tuple):
        raise TypeError(
            f"tag takes a str or a list of str, found {type(texts).__name__}: write tag([...]) or tag(text)"
        )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"tag takes a str or a list of str, found {type(text).__name__} in the list; "
                "for pre-tokenised sentences call tag_tokens([[...], ...])"
            )


def _check_sentences(sentences: Sequence[Sequence[str]]) -> None:
    if not isinstance(sentences, list | tuple):
        raise TypeError(
            f"tag_tokens takes a list of lists of tokens, found {type(sentences).__name__}: "
            'write tag_tokens([["one", "sentence"]]), or call tag(text) for raw text'
        )
    for tokens in sentences:
        if not isinstance(tokens, list | tuple):
            raise TypeError(
                f"tag_tokens takes a list of lists of tokens, found {type(tokens).__name__} in the list: "
                'write tag_tokens([["one", "sentence"]]) for one sentence, or call tag(text) for raw text'
            )
        for token in tokens:
            if not isinstance(token, str):
                raise TypeError(
                    f"tag_tokens takes a list of lists of tokens, found {type(token).__name__} as a token: "
                    'write tag_tokens([["one", "sentence"]])'
                )
