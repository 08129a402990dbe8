"""The tagger in memory, asked for spans or tags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.types import Span, TokenSpan
from nlp_app.inference.sharing import HubMixin
from nlp_app.inference.tag_decoding import Scored, _best_paths, predict_encoded
from nlp_app.models.label_extension import add_labels

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts


class Tagger(HubMixin["AnyTaggerParts"]):
    """Finds labeled spans in text. Calls change neither their input nor the tagger, which threads may share."""

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
        """Return a tagger with more labels, to be saved and trained further (`model.initial_model`).

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
        return [spans for chunk in chunk_by_size(texts, len) for spans in self._tag(chunk)]

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag for each token of pre-tokenized sentences: BIO tags, or plain labels where training had no scheme."""
        _check_sentences(sentences)
        encode, written = self.parts.encoder.encode, self.parts.tag_set.written
        return [
            written(path) for chunk in chunk_by_size(sentences, len) for path in _best_paths(self.parts, encode(chunk))
        ]

    def token_spans(self, sentences: Sequence[Sequence[str]]) -> list[list[TokenSpan]]:
        """The spans over the tokens of pre-tokenized sentences."""
        return [[span for span, _ in spans] for spans in self._predict(sentences, scores=False)]

    def scored_spans(self, sentences: Sequence[Sequence[str]]) -> list[Scored]:
        """`token_spans`, each with its probability under the model."""
        return self._predict(sentences, scores=True)

    def _predict(self, sentences: Sequence[Sequence[str]], scores: bool) -> list[Scored]:
        encode = self.parts.encoder.encode
        return [
            found
            for chunk in chunk_by_size(sentences, len)
            for found in predict_encoded(self.parts, encode(chunk), scores)
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


def _check_texts(texts: Sequence[str]) -> None:
    if not isinstance(texts, list | tuple):
        raise TypeError(
            f"tag takes a str or a list of str, found {type(texts).__name__}: write tag([...]) or tag(text)"
        )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"tag takes a str or a list of str, found {type(text).__name__} in the list; "
                "for pre-tokenized sentences call tag_tokens([[...], ...])"
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
