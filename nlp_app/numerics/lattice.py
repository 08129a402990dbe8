"""Forward-backward algorithm for one row: sums over all of its tag paths.

L positions, T tags. Let w be the exponentiated emissions and E the exponentiated transitions. The forward mass is
alpha_1 = start * w_1, alpha_t = (alpha_{t-1} E) * w_t. The backward mass, defined to include the weight of its own
position, follows the same recursion over the reversed row, with E transposed and start and end exchanged. Steps are
divided by their sum (Rabiner 1989, "A tutorial on hidden Markov models", section V.A), which keeps the values in range.
log Z is the sum of the logarithms of these sums and of the peaks that were subtracted from the emissions.

Scaled probabilities are used if the largest difference between two emissions of one position plus twice the largest
transition score (in absolute value) is within `SCALED_RANGE`, where forbidden tags and transitions do not count. Then
no mass underflows, provided that every permitted tag can be reached from every other in three transitions, as in all
tag schemes. Larger scores, and a row without a path, use the same recursion in log space, which is several times slower
and has no bound.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nlp_app.numerics.transitions import Floats, Transitions

SCALED_RANGE = 170.0  # exp(-4 * 170) / T**4 is still above the smallest normal float64, exp(-708)

Positions = NDArray[np.int64]  # (S,)


class PathMass(Protocol):
    """Weights of all paths of one row.

    Attributes:
        log_partition: log Z: the log of the summed weight of all paths; -inf without a permitted path.
    """

    log_partition: float

    def log_prefix(self, positions: Positions) -> Floats:
        """Compute the log mass of prefixes by their last tag.

        Args:
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T).
        """

    def log_suffix(self, positions: Positions) -> Floats:
        """Compute the log mass of suffixes by their first tag.

        Args:
            positions: First position of each suffix, (S,).

        Returns:
            (S, T).
        """


def path_mass(emissions: Floats, transitions: Transitions) -> PathMass:
    """Run the forward and the backward recursion over one row.

    Args:
        emissions: (L, T), without forbidden tags.
        transitions: The transition scores.

    Returns:
        The weights of all paths.
    """
    scaled = ScaledMass(emissions, transitions)
    return scaled if scaled.is_reliable else LogMass(emissions, transitions)


class ScaledMass:
    """Path weights as scaled probabilities.

    Args:
        emissions: (L, T).
        transitions: The transition scores.
        constrained: True if emissions may be -inf, for tags that are forbidden at some positions.

    Attributes:
        log_partition: log Z.
        is_reliable: False if the scores are out of range or the row has no path, so that log space is needed.
    """

    def __init__(self, emissions: Floats, transitions: Transitions, constrained: bool = False) -> None:
        with np.errstate(all="ignore"):  # a row without a path gives NaN, and `is_reliable` is False then
            peaks = emissions.max(1)
            lows = np.where(emissions > -math.inf, emissions, math.inf) if constrained else emissions
            gap = (peaks - lows.min(1)).max() + 2 * transitions.largest
            # Number of steps without division that float64's range allows, minus the three steps in which every tag is
            # reached.
            stride = max(1, int(700 / (gap + math.log(len(transitions.moves)))) - 3) if gap <= SCALED_RANGE else 1
            # For long rows, memory matters: only two more arrays of the size of the emissions.
            weights = emissions - peaks[:, None]
            np.exp(weights, out=weights)
            start, between, backwards, end = transitions.weights
            self.prefix, scales = _sweep(weights.copy(), start, between, stride)
            self.prefix_scales = scales + peaks.cumsum()
            reversed_suffix, scales = _sweep(weights[::-1], end, backwards, stride)
            self.suffix, self.suffix_scales = reversed_suffix[::-1], (scales + peaks[::-1].cumsum())[::-1]
            log_z = np.log(self.prefix[-1:] @ end) + self.prefix_scales[-1]
        self.log_partition = float(log_z[0])
        self.is_reliable = bool(gap <= SCALED_RANGE and math.isfinite(log_z[0]) and start @ self.suffix[0] > 0)

    def log_prefix(self, positions: Positions) -> Floats:
        """Compute the log mass of prefixes by their last tag; see `PathMass.log_prefix`.

        Args:
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T).
        """
        return log_mass(self.prefix[positions], self.prefix_scales[positions])

    def log_suffix(self, positions: Positions) -> Floats:
        """Compute the log mass of suffixes by their first tag; see `PathMass.log_suffix`.

        Args:
            positions: First position of each suffix, (S,).

        Returns:
            (S, T).
        """
        return log_mass(self.suffix[positions], self.suffix_scales[positions])


class LogMass:
    """Path weights in log space, for scores of any size and rows without a path.

    Args:
        emissions: (L, T).
        transitions: The transition scores.

    Attributes:
        log_partition: log Z.
    """

    def __init__(self, emissions: Floats, transitions: Transitions) -> None:
        self.prefix = _log_sweep(emissions, transitions.start, transitions.between)
        self.suffix = _log_sweep(emissions[::-1], transitions.end, transitions.arriving)[::-1]
        self.log_partition = float(np.logaddexp.reduce(self.prefix[-1] + transitions.end))

    def log_prefix(self, positions: Positions) -> Floats:
        """Compute the log mass of prefixes by their last tag; see `PathMass.log_prefix`.

        Args:
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T).
        """
        return self.prefix[positions]

    def log_suffix(self, positions: Positions) -> Floats:
        """Compute the log mass of suffixes by their first tag; see `PathMass.log_suffix`.

        Args:
            positions: First position of each suffix, (S,).

        Returns:
            (S, T).
        """
        return self.suffix[positions]


def marginals(emissions: Floats, transitions: Transitions) -> Floats:
    """Compute the marginal probability of each tag at each position of one row.

    Args:
        emissions: (L, T).
        transitions: The transition scores.

    Returns:
        (L, T); each position sums to 1, or to 0 if the row has no path.
    """
    mass, positions = path_mass(emissions, transitions), np.arange(len(emissions))
    if mass.log_partition == -math.inf:
        return np.zeros_like(emissions)
    # Both include the emission of their position.
    log_weights = mass.log_prefix(positions) + mass.log_suffix(positions) - emissions
    probabilities: Floats = np.exp(log_weights - mass.log_partition)
    probabilities /= probabilities.sum(1, keepdims=True)
    return probabilities


def _sweep(mass: Floats, edge: Floats, between: Floats, stride: int) -> tuple[Floats, Floats]:
    """Run the recursion in place: replace exponentiated emissions (L, T) by mass.

    The mass is divided by its sum at every `stride`-th position. Returns the mass and the log of the accumulated
    divisors, (L,).
    """
    sums, arriving = np.ones(len(mass)), edge.copy()
    for position, here in enumerate(mass):
        here *= arriving
        if position % stride == 0:
            sums[position] = here.sum()
            here /= sums[position]
        np.dot(here, between, out=arriving)
    return mass, np.log(sums).cumsum()


def _log_sweep(emissions: Floats, edge: Floats, between: Floats) -> Floats:
    mass = emissions.copy()
    mass[0] += edge
    for before, after in pairwise(mass):
        after += np.logaddexp.reduce(before[:, None] + between, axis=0)
    return mass


def log_mass(mass: Floats, scales: Floats) -> Floats:
    """Take the logarithm of scaled mass.

    Args:
        mass: (S, T).
        scales: The log of the factor by which each row of `mass` was divided, (S,).

    Returns:
        (S, T); -inf for no mass.
    """
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(mass)
    return logs + scales[:, None]
