"""Clusters of vectors: those that point the same way are together, whatever their length."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nlp_app.features.pretrained_vectors import Vectors
from nlp_app.features.tagging.vector_clusters import SIZES, are_word_vectors, cluster_vectors
from nlp_app.features.tagging.word_shapes import CLUSTER_LEVELS
from nlp_app.text.vocab import Vocabulary

Floats = NDArray[np.float32]
WAYS, DIMENSIONS = SIZES[0], 40
AXES = np.eye(WAYS, DIMENSIONS)


def vectors_of(rows: NDArray[np.floating]) -> Vectors:
    matrix = np.concatenate((np.zeros((2, rows.shape[1])), rows)).astype(np.float32)
    return Vectors(Vocabulary(f"word{number}" for number in range(len(rows))), matrix, 0)


def scattered(count: int, seed: int = 3) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Vectors of any length that point almost along one of the axes, and which one."""
    random = np.random.default_rng(seed)
    way = np.concatenate((np.arange(WAYS), random.integers(WAYS, size=count - WAYS)))
    rows = AXES[way] + random.normal(scale=1e-2, size=(count, DIMENSIONS))
    return rows * np.exp(random.normal(size=(count, 1))), way


def purity(clusters: NDArray[np.int32], way: NDArray[np.int64]) -> list[set[int]]:
    """The ways in each cluster."""
    return [set(way[clusters == cluster].tolist()) for cluster in np.unique(clusters)]


def test_a_cluster_is_of_one_direction() -> None:
    rows, way = scattered(2000)
    found = cluster_vectors(vectors_of(rows), seed=1)
    assert found.shape == (2002, CLUSTER_LEVELS)
    assert len(SIZES) == CLUSTER_LEVELS
    assert found.dtype == np.int32
    assert not found[:2].any()
    for level, size in enumerate(SIZES):
        clusters = found[2:, level]
        assert set(clusters.tolist()) == set(range(2, size + 2))
        assert all(len(ways) == 1 for ways in purity(clusters, way))
    assert len(purity(found[2:, 0], way)) == WAYS  # as many as directions: each is one cluster


def test_the_seed_decides() -> None:
    vectors = vectors_of(np.random.default_rng(5).normal(size=(300, 8)))
    assert np.array_equal(cluster_vectors(vectors, 7), cluster_vectors(vectors, 7))
    assert not np.array_equal(cluster_vectors(vectors, 7), cluster_vectors(vectors, 8))
    assert np.array_equal(cluster_vectors(vectors, 7 + (1 << 32)), cluster_vectors(vectors, 7))


@pytest.mark.parametrize("count", [1, 5, 100])
def test_fewer_directions_than_clusters(count: int) -> None:
    rows = np.random.default_rng(5).normal(size=(count, 9))
    found = cluster_vectors(vectors_of(np.concatenate((rows, 4 * rows))), seed=1)
    for level, size in enumerate(SIZES):
        clusters = found[2:, level]
        assert np.array_equal(clusters[:count], clusters[count:])  # length says nothing
        assert set(clusters.tolist()) == set(range(2, min(size, count) + 2))


def test_a_vector_without_a_direction() -> None:
    rows = np.concatenate((AXES, np.zeros((1, DIMENSIONS))))
    found = cluster_vectors(vectors_of(rows), seed=1)[2:]
    assert set(found[:, 1].tolist()) == set(range(2, len(rows) + 2))


def test_later_vectors_are_put_to_the_nearest_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_app.features.tagging.vector_clusters._MAX_FITTED", WAYS)
    monkeypatch.setattr("nlp_app.features.tagging.vector_clusters._CHUNK", 7)
    others = np.random.default_rng(2).normal(size=(100, DIMENSIONS))
    found = cluster_vectors(vectors_of(np.concatenate((AXES, others))), seed=1)[2:]
    nearest = (others / np.linalg.norm(others, axis=1, keepdims=True) @ AXES.T).argmax(axis=1)
    for level in range(CLUSTER_LEVELS):  # the axes are the only ones looked at: they are the centres of all levels
        assert len(set(found[:WAYS, level].tolist())) == WAYS
        assert found[WAYS:, level].tolist() == found[nearest, level].tolist()


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [(["the", "of", "x"], True), (["the", "北", "京"], False), (["the", "北"], False), (["京"], False), ([], False)],
)
def test_words_are_longer_than_a_character(symbols: list[str], expected: bool) -> None:
    matrix: Floats = np.zeros((len(symbols) + 2, 2), dtype=np.float32)
    assert are_word_vectors(Vectors(Vocabulary(symbols), matrix, 0)) is expected
