"""Score the paths of encoded sentences, batch by batch, for every kind of tagger and backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nlp_app.inference.numpy_tag_scores import numpy_tag_batches
from nlp_app.models import NumpyTaggerParts
from nlp_app.numerics.segments import Segments
from nlp_app.storage.ragged import RaggedColumns

if TYPE_CHECKING:
    from nlp_app.features.subwords.encoder import SubwordSentences
    from nlp_app.models import LoadedTaggerParts


Encoded: TypeAlias = "RaggedColumns | SubwordSentences"


class TagBatch(Protocol):
    """The scored paths of a batch of sentences, each with at least one token.

    Attributes:
        rows: (B,) indices of the sentences.
    """

    rows: NDArray[np.int64]

    def best_paths(self) -> list[list[int]]:
        """Find the best path of each sentence.

        Returns:
            The tag ids of each sentence.

        Raises:
            ValueError: If no path of a sentence has a finite score.
        """

    def segment_log_probability(self, segments: Segments) -> NDArray[np.float64]:
        """Compute the log posterior probability of segments.

        Args:
            segments: S segments in the batch.

        Returns:
            (S,); -inf for an impossible segment.
        """

    def marginals(self) -> list[NDArray[np.float64]]:
        """Compute the marginal probabilities of all tags.

        Returns:
            For each sentence (tokens, tags).
        """


def tag_batches(parts: LoadedTaggerParts, encoded: Encoded) -> Iterable[TagBatch]:
    """Score all sentences that have tokens.

    The network is used as it is: a torch module should be in evaluation mode, and it stays on its device. Sentences of
    similar length share a batch.

    Args:
        parts: The tagger.
        encoded: The sentences, encoded by the tagger's encoder.

    Returns:
        Batches, each sentence with tokens in one of them.
    """
    if isinstance(parts, NumpyTaggerParts):
        if not isinstance(encoded, RaggedColumns):
            raise TypeError(f"found {type(encoded).__name__}, expected the columns of the tagger's encoder")
        return numpy_tag_batches(parts.network, encoded)
    from nlp_app.inference.torch_tag_scores import torch_tag_batches  # noqa: PLC0415 - it imports torch

    return torch_tag_batches(parts, encoded)


def tag_marginals(parts: LoadedTaggerParts, sentences: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """Compute the marginal probabilities of all tags.

    Args:
        parts: The tagger.
        sentences: Pre-tokenized sentences.

    Returns:
        For each sentence (tokens, tags) probabilities under the CRF, in the order of `parts.tag_set.tags`.
    """
    marginals: list[NDArray[Any]] = [np.zeros((0, len(parts.tag_set.tags)))] * len(sentences)
    for batch in tag_batches(parts, parts.encoder.encode(sentences)):
        for row, probabilities in zip(batch.rows.tolist(), batch.marginals(), strict=True):
            marginals[row] = probabilities
    return marginals
