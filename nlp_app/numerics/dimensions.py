"""Sizes of the networks: table rows, widths of layers, dropout rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TableSizes:
    """Number of rows of each embedding table; row 0 is padding.

    Attributes:
        norms: Normalized tokens.
        shapes: Word shapes.
        parts: Embedded features (affixes, pairs with a neighboring token), summed per token.
        features: Window features.
        vectors: Pretrained vectors; 0: none.
    """

    norms: int
    shapes: int
    parts: int
    features: int
    vectors: int = 0


@dataclass(frozen=True)
class TaggerDimensions:
    """Layer sizes and dropout rates of the tagger.

    Attributes:
        norm: Width of the embeddings of normalized tokens.
        shape: Width of the embeddings of word shapes.
        part: Width of the embedded features.
        vector: Width of the pretrained vectors.
        hidden: Width of one direction of the LSTM.
        layers: Number of BiLSTM layers.
        input_dropout: Dropout rate of the LSTM's inputs.
        hidden_dropout: Dropout rate of the LSTM's outputs.
        feature_dropout: Dropout rate of whole window features.
        wide_dropout: Dropout rate of the wide part's scores.
    """

    norm: int = 64
    shape: int = 16
    part: int = 64
    vector: int = 0
    hidden: int = 64
    layers: int = 1
    input_dropout: float = 0.5
    hidden_dropout: float = 0.3
    feature_dropout: float = 0.2
    wide_dropout: float = 0.3


@dataclass(frozen=True)
class ClassifierSizes:
    """Number of rows of each embedding table; row 0 is padding. 0 rows: no table.

    Attributes:
        ngrams: N-grams.
        words: Words.
        vectors: Pretrained vectors.
    """

    ngrams: int
    words: int
    vectors: int = 0


@dataclass(frozen=True)
class ClassifierDimensions:
    """Heads, layer sizes and dropout rates of the classifier.

    Attributes:
        wide: 1 with a wide head, 0 without.
        hidden: Width of the deep head's hidden layer; 0: no deep head.
        mode: Pooling of n-gram rows: "sum", "mean" or "max".
        word: Width of the word embeddings; 0: none.
        vector: Width of the pretrained vectors; 0: none.
        filters: Filters per kernel size; 0: no convolution head.
        kernels: Kernel sizes in words, for example "2,3,4".
        stacked: Number of convolutions on top of each other; 0: parallel convolutions.
        ngram_dropout: Dropout rate of n-grams.
        hidden_dropout: Dropout rate of the hidden layer.
        word_dropout: Dropout rate of the convolution's word embeddings.
        filter_dropout: Dropout rate of the convolution's output.
    """

    wide: int = 1
    hidden: int = 128
    mode: str = "sum"
    word: int = 0
    vector: int = 0
    filters: int = 0
    kernels: str = "2,3,4"
    stacked: int = 0
    ngram_dropout: float = 0.3
    hidden_dropout: float = 0.3
    word_dropout: float = 0.3
    filter_dropout: float = 0.5


def kernel_sizes(text: str) -> Sequence[int]:
    """Parse a list of kernel sizes.

    Args:
        text: Sizes from 1 to 99, separated by commas.

    Returns:
        The sizes.

    Raises:
        ValueError: If the text is not a list of this form.

    Example:
        >>> kernel_sizes("2,3,4")
        [2, 3, 4]
    """
    sizes = [int(size) for size in text.split(",")]
    if not all(0 < size < 100 for size in sizes):
        raise ValueError(f"kernels: found {text!r}, expected sizes from 1 to 99, separated by commas")
    return sizes
