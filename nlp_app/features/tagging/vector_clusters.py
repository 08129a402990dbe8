"""Clusters of pretrained vectors as window features: words in a cluster are used in similar ways.

They give a feature-based CRF the benefit that a neural network has from the vectors (Turian et al. 2010, "Word
representations: a simple and general method for semi-supervised learning").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nlp_app.features.pretrained_vectors import Vectors
from nlp_app.text.vocab import SPECIALS

SIZES = (32, 128, 512)  # number of clusters of each level, coarse to fine

_MAX_FITTED = 20_000  # the clusters are fitted on the first vectors: files start with the frequent words

_ITERATIONS = 30

_CHUNK = 1 << 14


def cluster_vectors(vectors: Vectors, seed: int) -> NDArray[np.int32]:
    """Cluster the vectors by direction, with k-means on vectors of length 1.

    Args:
        vectors: The pretrained vectors.
        seed: Random seed.

    Returns:
        (len(vocabulary), levels) cluster ids, from 2; 0 for the special rows, which are in no cluster.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - takes two seconds, and few runs use vectors

    clusters = np.zeros((len(vectors.matrix), len(SIZES)), dtype=np.int32)
    rows = vectors.matrix[len(SPECIALS) :]
    fitted = _directions(rows[:_MAX_FITTED])
    distinct = len(np.unique(fitted.round(5), axis=0))
    with threadpool_limits(1):  # with several threads, the order of sums and thus the result would vary
        for level, size in enumerate(SIZES):
            means = KMeans(min(size, distinct), n_init=1, max_iter=_ITERATIONS, random_state=seed % (1 << 32))
            means.fit(fitted)
            for start in range(0, len(rows), _CHUNK):
                chunk = slice(start + len(SPECIALS), start + len(SPECIALS) + _CHUNK)
                clusters[chunk, level] = means.predict(_directions(rows[start : start + _CHUNK])) + len(SPECIALS)
    return clusters


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions


def are_word_vectors(vectors: Vectors) -> bool:
    """Check if most of the vectors belong to words with more than one character.

    Single characters are too ambiguous for their clusters to be useful features.

    Args:
        vectors: The pretrained vectors.

    Returns:
        True if more than half of the words have several characters.
    """
    return 2 * sum(len(word) > 1 for word in vectors.vocabulary.symbols) > len(vectors.vocabulary.symbols)
