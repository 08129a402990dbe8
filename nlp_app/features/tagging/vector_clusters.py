"""Clusters of pretrained vectors: words that are used alike, as window features.

A feature CRF gains from them what a network gains from the vectors (Turian et al. 2010, "Word representations: a simple
and general method for semi-supervised learning").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nlp_app.features.pretrained_vectors import Vectors
from nlp_app.text.vocab import SPECIALS

SIZES = (32, 128, 512)  # clusters of each level, coarse to fine

_MOST_FITTED = 20_000  # vectors that the clusters are found on, the first ones: files begin with the frequent words

_ITERATIONS = 30

_CHUNK = 1 << 14


def cluster_vectors(vectors: Vectors, seed: int) -> NDArray[np.int32]:
    """The clusters of every row, by direction (k-means over vectors of length one): (len(vocabulary), levels).

    Ids begin after those of the special rows, which are in no cluster: 0.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - takes two seconds, and few runs have vectors

    found = np.zeros((len(vectors.matrix), len(SIZES)), dtype=np.int32)
    rows = vectors.matrix[len(SPECIALS) :]
    fitted = _directions(rows[:_MOST_FITTED])
    distinct = len(np.unique(fitted.round(5), axis=0))
    with threadpool_limits(1):  # sums in another order would be other sums
        for level, size in enumerate(SIZES):
            means = KMeans(min(size, distinct), n_init=1, max_iter=_ITERATIONS, random_state=seed % (1 << 32))
            means.fit(fitted)
            for start in range(0, len(rows), _CHUNK):
                chunk = slice(start + len(SPECIALS), start + len(SPECIALS) + _CHUNK)
                found[chunk, level] = means.predict(_directions(rows[start : start + _CHUNK])) + len(SPECIALS)
    return found


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def are_word_vectors(vectors: Vectors) -> bool:
    """Whether most of the vectors are of words longer than a character. A character alone means too many things for
    its cluster to tell much."""
    return 2 * sum(len(word) > 1 for word in vectors.vocabulary.symbols) > len(vectors.vocabulary.symbols)
