"""Network of the text classifier: up to three independent heads, whose class scores are averaged.

- wide: a linear model with one weight per n-gram and class;
- deep: summed n-gram embeddings and one hidden layer (similar to fastText, Joulin et al. 2017);
- convolution: convolutions over word embeddings (Kim 2014).

Each head has its own loss. With a single loss of the summed scores, a head would not learn what the other heads know
already, and averaging would gain little.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp_app.nn.convolution import ConvolutionEncoder, StackedConvolutionEncoder, distinct_ids
from nlp_app.nn.embedding_bag import WeightedBag
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, kernel_sizes

_INITIAL_STD = 0.1  # of embeddings

# In prediction, the convolution reads longer texts in parts of this many words, which limits the memory.
_LONGEST_TEXT = 1 << 13


class TextClassifierNetwork(nn.Module):
    """Text classifier with wide, deep and convolution heads.

    Shapes: B texts, n n-grams of all texts together, L words of the longest text, K classes.
    """

    def __init__(self, classes: int, sizes: ClassifierSizes, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.loss: nn.Module | None = None  # only in training; not saved with the model
        self.wide = WideHead(classes, sizes.ngrams, dimensions) if dimensions.wide else None
        self.deep = DeepHead(classes, sizes.ngrams, dimensions) if dimensions.hidden else None
        self.convolution = ConvolutionHead(classes, sizes, dimensions) if dimensions.filters else None

    def forward(self, targets: Tensor | None = None, **texts: Tensor) -> Tensor:
        """Compute scores, or with targets the loss.

        Args:
            targets: Targets of `loss`; None to return scores.
            **texts: Inputs of `heads`.

        Returns:
            Without targets, scores (B, K). With targets, the sum of the heads' losses, a scalar.

        Raises:
            ValueError: If there are targets but `loss` is not set.
        """
        if targets is None:
            return self.scores(**texts)
        if self.loss is None:
            raise ValueError("found targets, but no loss; set the network's `loss` first")
        return torch.stack([self.loss(scores, targets) for scores in self.heads(**texts)]).sum()

    def scores(self, **texts: Tensor) -> Tensor:
        """Average the scores of all heads.

        Args:
            **texts: Inputs of `heads`.

        Returns:
            Logits, (B, K).
        """
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
        """Compute the scores of each head.

        Args:
            ngrams: Table rows of n-grams, (n,), text after text.
            offsets: Start of each text in `ngrams`, and at the end n; (B + 1,).
            weights: Weight of each n-gram in its text, (n,).
            words: Table rows of words, (B, L).
            vectors: Table rows of pretrained vectors, (B, L).
            mask: (B, L) bool, True for real words, which come first.

        Returns:
            Logits of the wide, deep and convolution head, as far as the network has them; (B, K) each.
        """
        scores = []
        if ngrams is not None and offsets is not None and weights is not None:
            dropped = functional.dropout(weights, self.dimensions.ngram_dropout, self.training)
            if self.wide is not None:
                scores.append(self.wide(ngrams, offsets, dropped))
            if self.deep is not None:
                scores.append(self.deep(ngrams, offsets, dropped))
        if self.convolution is not None and words is not None and mask is not None:
            scores.append(self.convolution(words, vectors, mask))
        return scores

    def set_vectors(self, matrix: Tensor, trained: bool) -> None:
        """Copy pretrained vectors into the network.

        Args:
            matrix: The vectors, (rows, width).
            trained: True to fine-tune the vectors in training, False to freeze them.

        Raises:
            ValueError: If the network has no table for pretrained vectors.
        """
        if self.convolution is None or self.convolution.vectors is None:
            raise ValueError("cannot set vectors in a network without pretrained vectors; set `dimensions.vector`")
        with torch.no_grad():
            self.convolution.vectors.weight.copy_(matrix)
        self.convolution.vectors.weight.requires_grad_(trained)


class NgramTable(WeightedBag):
    """Table of n-grams, trained by plain SGD."""

    # With SGD, a row changes in proportion to its gradients. Adam would change the row of an n-gram seen once as much
    # as the row of a frequent one.
    plain_sgd = True


class WideHead(nn.Module):
    """Linear model over n-grams: one weight per n-gram and class."""

    def __init__(self, classes: int, rows: int, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.bag = NgramTable(rows, classes, dimensions.mode)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, ngrams: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Compute class scores.

        Args:
            ngrams: Table rows of n-grams, (n,), text after text.
            offsets: Start of each text in `ngrams`, and at the end n; (B + 1,).
            weights: Weight of each n-gram in its text, (n,).

        Returns:
            Logits, (B, K).
        """
        scores: Tensor = self.bag(ngrams, offsets, weights) + self.bias
        return scores


class DeepHead(nn.Module):
    """Pooled n-gram embeddings and one hidden layer."""

    def __init__(self, classes: int, rows: int, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.bag = NgramTable(rows, dimensions.hidden, dimensions.mode)
        nn.init.normal_(self.bag.weight, std=_INITIAL_STD)
        self.bias = nn.Parameter(torch.zeros(dimensions.hidden))
        self.dropout = nn.Dropout(dimensions.hidden_dropout)
        self.output = nn.Linear(dimensions.hidden, classes)

    def forward(self, ngrams: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Compute class scores.

        Args:
            ngrams: Table rows of n-grams, (n,), text after text.
            offsets: Start of each text in `ngrams`, and at the end n; (B + 1,).
            weights: Weight of each n-gram in its text, (n,).

        Returns:
            Logits, (B, K).
        """
        hidden = (self.bag(ngrams, offsets, weights) + self.bias).relu()
        scores: Tensor = self.output(self.dropout(hidden))
        return scores


class ConvolutionHead(nn.Module):
    """Convolutions over word embeddings and pretrained vectors."""

    def __init__(self, classes: int, sizes: ClassifierSizes, dimensions: ClassifierDimensions) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.words, dimensions.word) if dimensions.word else None
        if self.words is not None:
            nn.init.normal_(self.words.weight, std=_INITIAL_STD)
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
        """Compute class scores.

        Args:
            words: Table rows of words, (B, L).
            vectors: Table rows of pretrained vectors, (B, L), or None.
            mask: (B, L) bool, True for real words, which come first.

        Returns:
            Logits, (B, K).
        """
        # Each distinct pair of word and vector is embedded once; one integer key stands for the pair.
        key = words if vectors is None or self.vectors is None else words.long() * len(self.vectors.weight) + vectors
        key = key.masked_fill(~mask, 0)
        if mask.shape[1] > _LONGEST_TEXT and not torch.is_grad_enabled():
            encoded = self._encode_long(key, mask)
        else:
            used, indices = distinct_ids(key)
            encoded = self.encoder.encode_indexed(self._embed(used), indices, mask)
        scores: Tensor = self.output(self.dropout(encoded))
        return scores

    def _encode_long(self, key: Tensor, mask: Tensor) -> Tensor:
        """Encode texts in parts. The result is exact, because pooling takes a maximum."""
        length, reach = mask.shape[1], self.encoder.reach
        step = -(-_LONGEST_TEXT // self.encoder.stride) * self.encoder.stride
        largest: list[Tensor] = []
        for first in range(0, length, step):
            end = min(first + step, length)
            read = slice(max(first - reach, 0), min(end + reach, length))
            used, indices = distinct_ids(key[:, read])
            inner = slice(first - read.start, end - read.start)
            largest.append(self.encoder.partial_maxima(self._embed(used), indices, mask[:, read], inner))
        return self.encoder.encode_maxima(torch.stack(largest).amax(0), mask)

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
