"""Network of the text classifier, as `nlp_app.nn.classifier`: up to three heads, whose class scores are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, kernel_sizes
from nlp_app.runtime import convolution
from nlp_app.runtime.convolution import Encoder, ParallelConvolutions, StackedConvolutions
from nlp_app.runtime.weights import Array, Floats, Integers, WeightType, linear

_PART = 1 << 13  # table rows of a text that are read at once: it limits the memory


class ClassifierNetwork:
    """Text classifier with wide, deep and convolution heads.

    Shapes: B texts, n n-grams of all texts together, w words of all texts together, K classes.

    Args:
        weights: The arrays of `weight_types`, by name.
        dimensions: Heads and sizes of the layers.

    Attributes:
        weights: As given.
        dimensions: As given.
    """

    def __init__(self, weights: Mapping[str, Array], dimensions: ClassifierDimensions) -> None:
        self.weights, self.dimensions = weights, dimensions
        self._convolutions: Encoder | None = None
        if dimensions.stacked and dimensions.filters:
            self._convolutions = StackedConvolutions(weights, dimensions.stacked)
        elif dimensions.filters:
            self._convolutions = ParallelConvolutions(weights, kernel_sizes(dimensions.kernels))

    def ngram_scores(self, rows: Integers, weights: Floats, offsets: Integers) -> list[Floats]:
        """Compute the scores of the wide and the deep head.

        Args:
            rows: Table rows of n-grams, (n,), text after text.
            weights: Weight of each n-gram in its text, (n,).
            offsets: Start of each text in `rows`, and at the end n; (B + 1,).

        Returns:
            Logits of the heads that the network has, (B, K) each.
        """
        scores = []
        if self.dimensions.wide:
            bags = self._pool(self.weights["wide.bag.weight"], rows, weights, offsets)
            scores.append(bags + self.weights["wide.bias"])
        if self.dimensions.hidden:
            bags = self._pool(self.weights["deep.bag.weight"], rows, weights, offsets)
            bags += self.weights["deep.bias"]
            scores.append(self._output("deep", np.maximum(bags, 0, out=bags)))
        return scores

    def word_scores(self, words: Integers, vectors: Integers | None, offsets: Integers) -> list[Floats]:
        """Compute the scores of the convolution head.

        Args:
            words: Table rows of words, (w,), text after text.
            vectors: Table rows of pretrained vectors, (w,), or None.
            offsets: Start of each text in `words`, and at the end w; (B + 1,).

        Returns:
            Logits, (B, K), if the network has the head.
        """
        encode = self._convolutions
        if encode is None:
            return []
        bounds = offsets.tolist()
        encoded = np.zeros((len(bounds) - 1, encode.width), np.float32)
        for text, (start, end) in zip(encoded, pairwise(bounds), strict=True):
            text[:] = encode(
                end - start, self._embedding(words[start:end], None if vectors is None else vectors[start:end])
            )
        return [self._output("convolution", encoded)]

    def _pool(self, table: Floats, rows: Integers, weights: Floats, offsets: Integers) -> Floats:
        """Reduce the table rows of each text to one vector: (B, width)."""
        mode, bounds = self.dimensions.mode, offsets.tolist()
        pooled = np.zeros((len(bounds) - 1, table.shape[1]), np.float32)
        for bag, start, end in zip(pooled, bounds, bounds[1:], strict=False):
            factors = weights[start:end] / np.float32(end - start) if mode == "mean" else weights[start:end]
            for first in range(start, end, _PART):
                part = table.take(rows[first : min(first + _PART, end)], 0)
                if mode != "max":
                    bag += factors[first - start : first - start + len(part)] @ part
                elif first == start:
                    bag[:] = part.max(0)
                else:
                    np.maximum(bag, part.max(0), out=bag)
        return pooled

    def _embedding(self, words: Integers, vectors: Integers | None) -> Callable[[slice], Floats]:
        """Make a function that returns the embeddings of a range of words."""
        tables = []
        if vectors is not None and self.dimensions.vector:
            tables.append((self.weights["convolution.vectors.weight"], vectors))
        if self.dimensions.word:
            tables.append((self.weights["convolution.words.weight"], words))
        return lambda part: np.concatenate([table.take(rows[part], 0) for table, rows in tables], 1)

    def _output(self, head: str, hidden: Floats) -> Floats:
        scores: Floats = hidden @ self.weights[f"{head}.output.weight"].T
        scores += self.weights[f"{head}.output.bias"]
        return scores


def weight_types(classes: int, sizes: ClassifierSizes, dimensions: ClassifierDimensions) -> dict[str, WeightType]:
    """List the weights of a classifier.

    Args:
        classes: Number of classes.
        sizes: Rows of the tables.
        dimensions: Heads and sizes of the layers.

    Returns:
        The type of each array by name.
    """
    d = dimensions
    types: dict[str, WeightType] = {}
    if d.wide:
        types |= {"wide.bag.weight": WeightType((sizes.ngrams, classes)), "wide.bias": WeightType((classes,))}
    if d.hidden:
        types |= {"deep.bag.weight": WeightType((sizes.ngrams, d.hidden)), "deep.bias": WeightType((d.hidden,))}
        types |= linear("deep.output", classes, d.hidden)
    if d.filters:
        if d.word:
            types["convolution.words.weight"] = WeightType((sizes.words, d.word))
        if d.vector:
            types["convolution.vectors.weight"] = WeightType((sizes.vectors, d.vector))
        encoder, width = convolution.weight_types(d.word + d.vector, d.filters, kernel_sizes(d.kernels), d.stacked)
        types |= encoder | linear("convolution.output", classes, width)
    return types
