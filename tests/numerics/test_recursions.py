"""The CRF's recursions in NumPy against the enumeration of all paths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.numerics.lattice import LogMass, ScaledMass, marginals, path_mass
from nlp_app.numerics.segments import BatchMass, Segments, segment_log_probability
from nlp_app.numerics.transitions import Floats, Transitions
from nlp_app.numerics.viterbi import best_path, best_paths

pytestmark = pytest.mark.numeric


def make_transitions(tags: int, seed: int, scale: float = 1.0) -> Transitions:
    """Random scores; a tenth of the transitions between tags is forbidden, but never to or from tag 0."""
    random = np.random.default_rng(seed)
    moves = random.normal(size=(tags + 2, tags + 2)) * scale
    forbidden = random.random(moves.shape) < 0.1
    forbidden[0] = forbidden[:, 0] = forbidden[-2:] = forbidden[:, -2:] = False
    moves[forbidden] = -math.inf
    return Transitions(moves)


def enumerate_paths(emissions: Floats, transitions: Transitions) -> dict[tuple[int, ...], float]:
    """The score of every path."""
    moves = transitions.moves
    length, tags = emissions.shape
    return {
        path: emissions[np.arange(length), path].sum()
        + moves[-2, path[0]]
        + sum(moves[pair] for pair in itertools.pairwise(path))
        + moves[path[-1], -1]
        for path in itertools.product(range(tags), repeat=length)
    }


SHAPES = {"length": st.integers(1, 5), "tags": st.integers(1, 4), "seed": st.integers(0, 1 << 16)}


@given(**SHAPES, scale=st.sampled_from([1.0, 300.0]))
def test_one_row_agrees_with_enumeration(length: int, tags: int, seed: int, scale: float) -> None:
    transitions = make_transitions(tags, seed, scale)
    emissions = np.random.default_rng(seed).normal(size=(length, tags)) * scale
    paths = enumerate_paths(emissions, transitions)
    best = max(paths.values())
    assert paths[tuple(best_path(emissions, transitions))] == pytest.approx(best)
    log_z = best + math.log(sum(math.exp(score - best) for score in paths.values()))
    assert path_mass(emissions, transitions).log_partition == pytest.approx(log_z)
    expected = np.zeros_like(emissions)
    for path, score in paths.items():
        expected[np.arange(length), path] += math.exp(score - log_z)
    np.testing.assert_allclose(marginals(emissions, transitions), expected, rtol=1e-7, atol=1e-9)


@given(**SHAPES)
def test_scaled_and_log_space_agree(length: int, tags: int, seed: int) -> None:
    transitions = make_transitions(tags, seed)
    emissions = np.random.default_rng(seed).normal(size=(length, tags)) * 10
    scaled, log = ScaledMass(emissions, transitions), LogMass(emissions, transitions)
    positions = np.arange(length)
    assert scaled.is_reliable
    assert scaled.log_partition == pytest.approx(log.log_partition)
    np.testing.assert_allclose(scaled.log_prefix(positions), log.log_prefix(positions), atol=1e-9)
    np.testing.assert_allclose(scaled.log_suffix(positions), log.log_suffix(positions), atol=1e-9)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), tags=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_batch_gives_the_paths_of_its_rows(lengths: list[int], tags: int, seed: int) -> None:
    transitions = make_transitions(tags, seed)
    emissions = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), tags))
    for row, length in enumerate(lengths):
        emissions[row, length:] = -100.0  # padding has no effect
    alone = [best_path(row[:length], transitions) for row, length in zip(emissions, lengths, strict=True)]
    assert best_paths(emissions, np.array(lengths), transitions) == alone


def test_a_row_without_a_path() -> None:
    transitions = Transitions(np.full((4, 4), -math.inf))
    transitions.moves[-2, :-2] = transitions.moves[:-2, -1] = 0.0  # one tag, or none
    emissions = np.zeros((3, 2))
    for find in (
        lambda: best_path(emissions, transitions),
        lambda: best_paths(emissions[None], np.array([3]), transitions),
    ):
        with pytest.raises(ValueError, match="row 0: found no permitted path"):
            find()
    assert path_mass(emissions, transitions).log_partition == -math.inf
    assert not marginals(emissions, transitions).any()


@given(length=st.integers(1, 5), tags=st.integers(1, 4), seed=st.integers(0, 99), data=st.data())
def test_segments_agree_with_enumeration(length: int, tags: int, seed: int, data: st.DataObject) -> None:
    transitions = make_transitions(tags, seed)
    emissions = np.random.default_rng(seed).normal(size=(length, tags))
    start = data.draw(st.integers(0, length - 1))
    inside = data.draw(st.lists(st.integers(0, tags - 1), min_size=1, max_size=length - start))
    paths, mass = enumerate_paths(emissions, transitions), path_mass(emissions, transitions)
    batch = BatchMass(
        emissions[None],
        transitions.moves,
        np.array([length]),
        np.array([mass.log_partition]),
        lambda _, positions: mass.log_prefix(positions),
        lambda _, positions: mass.log_suffix(positions),
    )
    segments = Segments(np.array([0]), np.array([start]), np.array([inside]), np.array([len(inside)]))
    matching = [s for path, s in paths.items() if list(path[start : start + len(inside)]) == inside]
    expected = sum(math.exp(score - mass.log_partition) for score in matching)
    assert np.exp(segment_log_probability(batch, segments)) == pytest.approx(expected)
