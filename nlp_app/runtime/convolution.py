"""Convolutions over the words of one text, max-pooled to one vector, as `nlp_app.nn.convolution`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from nlp_app.runtime.weights import Array, Floats, WeightType, linear

_PART = 1 << 10  # words of a long text that are read at once, besides those at the edges: it limits the memory

_NAME = "convolution.encoder"


class Encoder(Protocol):
    """A convolution encoder.

    Attributes:
        width: Width of the result.
    """

    width: int

    def __call__(self, length: int, embed: Callable[[slice], Floats]) -> Floats:
        """Encode one text.

        Args:
            length: Number of words.
            embed: Returns the embeddings of a range of words, (words, width_in).

        Returns:
            (width,); zeros for a text without words.
        """


class ParallelConvolutions:
    """Convolutions of several kernel sizes side by side, with ReLU and max-pooling over the text.

    Args:
        weights: The arrays of the network, by name.
        sizes: The kernel sizes.
    """

    def __init__(self, weights: Mapping[str, Array], sizes: Sequence[int]) -> None:
        self._kernels = [_Kernel(weights, f"{_NAME}.convolutions.{number}") for number in range(len(sizes))]
        self._reach = max(sizes) - 1
        self.width = sum(len(kernel.bias) for kernel in self._kernels)

    def __call__(self, length: int, embed: Callable[[slice], Floats]) -> Floats:
        """Encode one text; see `Encoder`.

        Args:
            length: Number of words.
            embed: Returns the embeddings of a range of words.

        Returns:
            (width,).
        """
        largest = np.zeros(self.width, np.float32)
        for first in range(0, length, _PART):
            end = min(first + _PART, length)
            read = slice(max(first - self._reach, 0), min(end + self._reach, length))
            x, inner = embed(read), slice(first - read.start, end - read.start)
            maxima = np.concatenate([kernel(x)[inner].max(0) for kernel in self._kernels])
            np.maximum(largest, maxima, out=largest)
        return largest


class StackedConvolutions:
    """Convolutions on top of each other, each after a max-pooling that halves the length.

    Args:
        weights: The arrays of the network, by name.
        layers: Number of convolutions.
    """

    def __init__(self, weights: Mapping[str, Array], layers: int) -> None:
        self._kernels = [_Kernel(weights, f"{_NAME}.convolutions.{number}") for number in range(layers)]
        self._dense, self._bias = weights[f"{_NAME}.dense.weight"], weights[f"{_NAME}.dense.bias"]
        self._stride = 1 << layers - 1
        self._reach = 2 * self._stride * self._kernels[0].size
        self.width = len(self._bias)

    def __call__(self, length: int, embed: Callable[[slice], Floats]) -> Floats:
        """Encode one text; see `Encoder`.

        Args:
            length: Number of words.
            embed: Returns the embeddings of a range of words.

        Returns:
            (width,).
        """
        if not length:
            return np.zeros(self.width, np.float32)
        largest = np.zeros(len(self._kernels[0].bias), np.float32)
        step = -(-_PART // self._stride) * self._stride
        for first in range(0, length, step):
            end = min(first + step, length)
            read = slice(max(first - self._reach, 0), min(end + self._reach, length))
            outputs = self._run(embed(read))
            inner = slice((first - read.start) // self._stride, -(-(end - read.start) // self._stride))
            np.maximum(largest, outputs[inner].max(0), out=largest)
        return np.maximum(self._dense @ largest + self._bias, 0)

    def _run(self, x: Floats) -> Floats:
        for number, kernel in enumerate(self._kernels):
            if number:
                pairs = np.maximum(x[:-1:2], x[1::2])
                x = np.concatenate((pairs, x[-1:])) if len(x) % 2 else pairs
            x = np.maximum(kernel(x), 0)
        return x


class _Kernel:
    """One convolution. A window has (size - 1) // 2 words before its central word; beyond the text are zeros."""

    def __init__(self, weights: Mapping[str, Array], name: str) -> None:
        weight, self.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        filters, width, self.size = weight.shape
        self._table = np.ascontiguousarray(weight.transpose(2, 0, 1).reshape(self.size * filters, width).T)

    def __call__(self, x: Floats) -> Floats:
        """Convolve (L, width_in) to (L, filters)."""
        length, left = len(x), (self.size - 1) // 2
        products = (x @ self._table).reshape(length, self.size, -1)
        sums = np.tile(self.bias, (length, 1))
        for offset in range(self.size):
            shift = offset - left
            first, end = max(0, -shift), min(length, length - shift)
            if first < end:
                sums[first:end] += products[first + shift : end + shift, offset]
        return sums


def weight_types(width: int, filters: int, sizes: Sequence[int], stacked: int) -> tuple[dict[str, WeightType], int]:
    """List the weights of an encoder.

    Args:
        width: Width of the embeddings.
        filters: Filters of each convolution.
        sizes: The kernel sizes.
        stacked: Number of convolutions on top of each other; 0: side by side.

    Returns:
        The type of each array by name, and the width of the result.
    """
    shapes = [(filters, width, size) for size in sizes]
    if stacked:
        shapes = [(filters, filters if number else width, sizes[0]) for number in range(stacked)]
    types: dict[str, WeightType] = {}
    for number, shape in enumerate(shapes):
        types[f"{_NAME}.convolutions.{number}.weight"] = WeightType(shape)
        types[f"{_NAME}.convolutions.{number}.bias"] = WeightType((filters,))
    if stacked:
        return types | linear(f"{_NAME}.dense", filters, filters), filters
    return types, filters * len(sizes)
