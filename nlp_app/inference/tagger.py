"""Tag texts and pre-tokenized sentences with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import ModelError
from nlp_app.core.types import Span, TokenSpan
from nlp_app.inference.backends import BULK_CHARACTERS, BULK_TOKENS, OnDemand
from nlp_app.inference.sharing import HubMixin
from nlp_app.inference.tag_decoding import Scored, _best_paths, predict_encoded
from nlp_app.models import NumpyTaggerParts, TaggerParts
from nlp_app.models.tagger import to_torch

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts, LoadedTaggerParts


class Tagger(HubMixin["LoadedTaggerParts"]):
    """A trained sequence tagger: finds labeled spans in text, or a tag for each token.

    `nlp_app.load` creates one. Calls change neither their input nor the tagger, so threads may share it. Texts may be
    of any length. Give many texts in one call: that is many times faster than one text per call.

    Args:
        parts: The parts of the model, as read from a model directory.
        torch_for_bulk: Compute calls with many tokens by torch even if the network of `parts` is NumPy's.

    Example:
        >>> import nlp_app
        >>> tagger = nlp_app.load("runs/ner")
        >>> for span in tagger.tag("Anna lives in Rome"):
        ...     print(span.text, span.label, span.start, span.end)
        Anna PER 0 4
        Rome LOC 14 18
        >>> tagger.tag_tokens([["Anna", "lives", "in", "Rome"]])
        [['B-PER', 'O', 'O', 'B-LOC']]
    """

    def __init__(self, parts: LoadedTaggerParts, *, torch_for_bulk: bool = False) -> None:
        self.parts = parts
        self._bulk: OnDemand[NumpyTaggerParts, TaggerParts] | None = None
        if not isinstance(parts, NumpyTaggerParts):
            parts.network.eval()
        elif torch_for_bulk:
            self._bulk = OnDemand(parts, to_torch)
        # Fill the tag set's caches now, before threads share it or the process forks while one is being filled.
        tag_set = parts.tag_set
        _ = tag_set.spans([]), tag_set.written([]), tag_set.boundaries

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a span can have."""
        return self.parts.tag_set.labels

    def add_labels(self, labels: Iterable[str]) -> Tagger:
        """Return a copy of the tagger with more labels, to save and train further (`model.initial_model`).

        Until it is trained, the copy predicts the same as this tagger.

        Args:
            labels: The labels to add. Labels that the tagger already has are ignored.

        Returns:
            A new tagger; new labels follow the old ones.

        Raises:
            TypeError: If `labels` is a single str, or contains anything but str.
            ModelError: If the network's output layer has no bias, which new labels need, or torch is not used.

        Example:
            >>> larger = tagger.add_labels(["PRODUCT", "EVENT"])
            >>> larger.labels
            ('LOC', 'PER', 'PRODUCT', 'EVENT')
            >>> larger.save_pretrained("models/larger")
        """
        names = [labels] if isinstance(labels, str) else list(labels)
        if isinstance(labels, str) or not all(isinstance(name, str) for name in names):
            wrong = next((name for name in names if not isinstance(name, str)), labels)
            raise TypeError(
                f"add_labels takes a list of str, found {type(wrong).__name__}: write add_labels(['PRODUCT'])"
            )
        from nlp_app.models.label_extension import add_labels  # noqa: PLC0415 - it imports torch

        return Tagger(add_labels(self._torch_parts("add_labels"), names))

    @overload
    def tag(self, texts: str) -> list[Span]: ...
    @overload
    def tag(self, texts: list[str] | tuple[str, ...]) -> list[list[Span]]: ...
    def tag(self, texts: str | list[str] | tuple[str, ...]) -> list[Span] | list[list[Span]]:
        """Find the labeled spans in one raw text or in a list of texts.

        Args:
            texts: A raw text, or a list or tuple of raw texts.

        Returns:
            For one text: its spans in order. For several texts: a list of spans for each of them. Offsets count
            characters: `span.text == text[span.start:span.end]`. A span's score is its exact probability under the
            model.

        Raises:
            TypeError: If `texts` is neither a str nor a list or tuple of str.

        Example:
            >>> tagger.tag("Anna lives in Rome")[0]
            Span(text='Anna', label='PER', start=0, end=4, score=0.998)
            >>> [len(spans) for spans in tagger.tag(["Anna lives in Rome", "Nobody lives here"])]
            [2, 0]
        """
        if isinstance(texts, str):
            return self.tag([texts])[0]
        _check_texts(texts)
        parts = self._parts_for(sum(map(len, texts)), BULK_CHARACTERS)
        return [spans for chunk in chunk_by_size(texts, len) for spans in _tag(parts, chunk)]

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Predict one tag for each token of pre-tokenized sentences.

        Args:
            sentences: A list of sentences, each a list of tokens.

        Returns:
            The tags of each sentence: BIO tags, or plain labels if the training data had no tagging scheme
            (part-of-speech tags, for example).

        Raises:
            TypeError: If `sentences` is not a list of lists of str.

        Example:
            >>> tagger.tag_tokens([["Anna", "lives", "in", "Rome"], ["Hello"]])
            [['B-PER', 'O', 'O', 'B-LOC'], ['O']]
        """
        _check_sentences(sentences)
        parts = self._parts_for(sum(map(len, sentences)), BULK_TOKENS)
        encode, written = parts.encoder.encode, parts.tag_set.written
        return [written(path) for chunk in chunk_by_size(sentences, len) for path in _best_paths(parts, encode(chunk))]

    def token_spans(self, sentences: Sequence[Sequence[str]]) -> list[list[TokenSpan]]:
        """Find the labeled spans of pre-tokenized sentences.

        Args:
            sentences: A list of sentences, each a list of tokens.

        Returns:
            The spans of each sentence; `start` and `end` count tokens, `end` is exclusive.

        Example:
            >>> tagger.token_spans([["Anna", "lives", "in", "New", "York"]])
            [[TokenSpan(start=0, end=1, label='PER'), TokenSpan(start=3, end=5, label='LOC')]]
        """
        return [[span for span, _ in spans] for spans in self._predict(sentences, scores=False)]

    def scored_spans(self, sentences: Sequence[Sequence[str]]) -> list[Scored]:
        """Find the labeled spans of pre-tokenized sentences, with their probabilities.

        Args:
            sentences: A list of sentences, each a list of tokens.

        Returns:
            For each sentence a list of pairs: a `TokenSpan`, as from `token_spans`, and its probability under the
            model.
        """
        return self._predict(sentences, scores=True)

    def _predict(self, sentences: Sequence[Sequence[str]], scores: bool) -> list[Scored]:
        parts = self._parts_for(sum(map(len, sentences)), BULK_TOKENS)
        return [spans for chunk in chunk_by_size(sentences, len) for spans in _predict(parts, chunk, scores)]

    def _parts_for(self, size: int, limit: int) -> LoadedTaggerParts:
        """Choose the parts that compute a call; the choice depends on the call alone, so its result is repeatable."""
        return self.parts if self._bulk is None or size < limit else self._bulk.get()

    def _torch_parts(self, what: str) -> AnyTaggerParts:
        if not isinstance(self.parts, NumpyTaggerParts):
            return self.parts
        if self._bulk is None:
            raise ModelError(f'{what}: needs torch; install it and load the model with backend="torch"')
        return self._bulk.get()


def _predict(parts: LoadedTaggerParts, sentences: Sequence[Sequence[str]], scores: bool) -> list[Scored]:
    return predict_encoded(parts, parts.encoder.encode(sentences), scores)


def _tag(parts: LoadedTaggerParts, texts: Sequence[str]) -> list[list[Span]]:
    tokens = parts.tokenizer.batch(texts)
    sentences = [
        [text[start:end] for start, end in zip(offsets.starts, offsets.ends, strict=True)]
        for text, offsets in zip(texts, tokens, strict=True)
    ]
    found = [spans for chunk in chunk_by_size(sentences, len) for spans in _predict(parts, chunk, scores=True)]
    return [
        [
            Span(text[offsets.starts[a] : offsets.ends[b - 1]], label, offsets.starts[a], offsets.ends[b - 1], score)
            for (a, b, label), score in spans
        ]
        for text, offsets, spans in zip(texts, tokens, found, strict=True)
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
