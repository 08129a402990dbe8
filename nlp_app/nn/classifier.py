"""The classifier's network: heads that each score every class and learn by themselves; their scores are averaged.

- wide: a weight a class for each n-gram of the text, as a linear model has them;
- deep: the n-grams' embeddings, summed and passed through one hidden layer (the shape of fastText, Joulin et al. 2017);
- convolution: of the words' embeddings (Kim 2014).

Each head has a loss of its own: trained by one loss of their sum, a head leaves to the others what they know already,
and averaging would gain little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp_app.nn.convolution import ConvolutionEncoder, StackedConvolutionEncoder, distinct_ids
from nlp_app.nn.embedding_bag import WeightedBag

_SPREAD = 0.1  # standard deviation of embeddings at the start

# Words of a text that the convolution reads at a time in prediction: what bounds the memory that a very long one takes.
_LONGEST_TEXT = 1 << 13


@dataclass(frozen=True)
class ClassifierSizes:
    """Rows of each table; row 0 is padding, 0 rows: no such part."""

    ngrams: int
    words: int
    vectors: int = 0


@dataclass(frozen=True)
class ClassifierDimensions:
    """What parts there are, how wide, and the shares that training drops.

    wide: 1 or 0; hidden: of the deep part, 0 for none; mode: of the bags, sum, mean or max; word, vector: widths of the
    embeddings; filters: of each kernel size, 0 for no convolution; kernels: their sizes, such as "2,3,4"; stacked: the
    number of convolutions on top of each other instead of side by side, 0 for none.
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


class TextClassifierNetwork(nn.Module):
    """Scores of each class for texts; with targets, the sum of their losses.

    Shapes: B texts, n n-grams in all of them, L words at most, K classes.
    """

    def __init__(self, classes: int, sizes: ClassifierSizes, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.loss: nn.Module | None = None  # of training; no part of a saved model
        self.wide = WideHead(classes, sizes.ngrams, dimensions) if dimensions.wide else None
        self.deep = DeepHead(classes, sizes.ngrams, dimensions) if dimensions.hidden else None
        self.convolution = ConvolutionHead(classes, sizes, dimensions) if dimensions.filters else None

    def forward(self, targets: Tensor | None = None, **texts: Tensor) -> Tensor:
        """The scores (B, K) of texts, given as for `heads`; with targets, the sum of all heads' losses."""
        if targets is None:
            return self.scores(**texts)
        if self.loss is None:
            raise ValueError("found targets, but no loss; set the network's `loss` first")
        return torch.stack([self.loss(scores, targets) for scores in self.heads(**texts)]).sum()

    def scores(self, **texts: Tensor) -> Tensor:
        """(B, K), before any softmax or sigmoid: the mean of the heads'. Takes texts as `heads` does."""
        return torch.stack(self.heads(**texts)).mean(0)

    def heads(
        self,
        ngrams: Tensor | None = None,
        offsets: Tensor | None = None,
        weights: Tensor | None = None,
        words: Tensor | None = None,
        vectors: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> list[Tensor]:
        """(B, K) of each head.

        ngrams, weights: (n,) rows of n-grams and their weights in the text, text after text; offsets: (B + 1,);
        words, vectors: (B, L) rows of words and of pretrained vectors; mask: (B, L) bool, True = real.
        """
        found = []
        if ngrams is not None and offsets is not None and weights is not None:
            dropped = functional.dropout(weights, self.dimensions.ngram_dropout, self.training)
            if self.wide is not None:
                found.append(self.wide(ngrams, offsets, dropped))
            if self.deep is not None:
                found.append(self.deep(ngrams, offsets, dropped))
        if self.convolution is not None and words is not None and mask is not None:
            found.append(self.convolution(words, vectors, mask))
        return found

    def set_vectors(self, matrix: Tensor, trained: bool) -> None:
        """Put pretrained vectors (rows, width) in place; `trained`: whether training changes them."""
        if self.convolution is None or self.convolution.vectors is None:
            raise ValueError("a network without pretrained vectors has no place for them")
        with torch.no_grad():
            self.convolution.vectors.weight.copy_(matrix)
        self.convolution.vectors.weight.requires_grad_(trained)


class NgramTable(WeightedBag):
    """Rows of n-grams, for plain SGD."""

    # Each n-gram's row moves by what it has seen: Adam would have those seen once move as far as any.
    plain_sgd = True


class WideHead(nn.Module):
    """A weight a class for each n-gram."""

    def __init__(self, classes: int, rows: int, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.bag = NgramTable(rows, classes, dimensions.mode)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, ngrams: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        found: Tensor = self.bag(ngrams, offsets, weights) + self.bias
        return found


class DeepHead(nn.Module):
    """N-grams' embeddings, summed, and one hidden layer."""

    def __init__(self, classes: int, rows: int, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.bag = NgramTable(rows, dimensions.hidden, dimensions.mode)
        nn.init.normal_(self.bag.weight, std=_SPREAD)
        self.bias = nn.Parameter(torch.zeros(dimensions.hidden))
        self.dropout = nn.Dropout(dimensions.hidden_dropout)
        self.output = nn.Linear(dimensions.hidden, classes)

    def forward(self, ngrams: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        hidden = (self.bag(ngrams, offsets, weights) + self.bias).relu()
        found: Tensor = self.output(self.dropout(hidden))
        return found


class ConvolutionHead(nn.Module):
    """Convolutions over the words' embeddings."""

    def __init__(self, classes: int, sizes: ClassifierSizes, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.words, dimensions.word) if dimensions.word else None
        if self.words is not None:
            nn.init.normal_(self.words.weight, std=_SPREAD)
        self.vectors = nn.Embedding(sizes.vectors, dimensions.vector) if dimensions.vector else None
        width = dimensions.word + dimensions.vector
        self.encoder: ConvolutionEncoder | StackedConvolutionEncoder
        if dimensions.stacked:
            self.encoder = StackedConvolutionEncoder(
                width, dimensions.filters, kernel_sizes(dimensions.kernels)[0], dimensions.stacked
            )
        else:
            self.encoder = ConvolutionEncoder(width, dimensions.filters, kernel_sizes(dimensions.kernels))
        self.word_dropout = nn.Dropout(dimensions.word_dropout)
        self.dropout = nn.Dropout(dimensions.filter_dropout)
        self.output = nn.Linear(self.encoder.width, classes)

    def forward(self, words: Tensor, vectors: Tensor | None, mask: Tensor) -> Tensor:
        # A word always has the same vector: what is distinct is found by words, or by vectors where both are given.
        key = words if vectors is None or self.vectors is None else words.long() * len(self.vectors.weight) + vectors
        key = key.masked_fill(~mask, 0)
        if mask.shape[1] > _LONGEST_TEXT and not torch.is_grad_enabled():
            encoded = self._encode_long(key, mask)
        else:
            used, places = distinct_ids(key)
            encoded = self.encoder.of_rows(self._embed(used), places, mask)
        found: Tensor = self.output(self.dropout(encoded))
        return found

    def _encode_long(self, key: Tensor, mask: Tensor) -> Tensor:
        """The same from parts of the texts: what is pooled is a maximum, so the largest over parts is exact."""
        length, reach = mask.shape[1], self.encoder.reach
        step = -(-_LONGEST_TEXT // self.encoder.stride) * self.encoder.stride
        largest: list[Tensor] = []
        for first in range(0, length, step):
            end = min(first + step, length)
            read = slice(max(first - reach, 0), min(end + reach, length))
            used, places = distinct_ids(key[:, read])
            inner = slice(first - read.start, end - read.start)
            largest.append(self.encoder.maxima(self._embed(used), places, mask[:, read], inner))
        return self.encoder.of_maxima(torch.stack(largest).amax(0), mask)

    def _embed(self, used: Tensor) -> Tensor:
        parts = []
        if self.vectors is not None:
            rows = len(self.vectors.weight)
            parts.append(self.vectors(used % rows))
            used = used // rows
        if self.words is not None:
            parts.append(self.words(used))
        embedded: Tensor = self.word_dropout(torch.cat(parts, 1))
        return embedded


def kernel_sizes(text: str) -> Sequence[int]:
    """The sizes in a list such as "2,3,4". Raises ValueError for anything else."""
    sizes = [int(size) for size in text.split(",")]
    if not all(0 < size < 100 for size in sizes):
        raise ValueError(f"kernels: found {text!r}, expected sizes from 1 to 99, divided by commas")
    return sizes
