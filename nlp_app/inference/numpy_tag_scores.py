"""Score the paths of encoded sentences by NumPy, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nlp_app.inference.token_windows import BATCH_TOKENS, is_long, sentence_windows
from nlp_app.numerics.lattice import PathMass, marginals, path_mass
from nlp_app.numerics.segments import BatchMass, Segments, segment_log_probability
from nlp_app.numerics.transitions import Floats, Transitions
from nlp_app.numerics.viterbi import best_path, best_paths
from nlp_app.runtime.tagger import TaggerNetwork
from nlp_app.storage.batching import length_batches
from nlp_app.storage.ragged import RaggedColumns, collate

Integers = NDArray[np.int64]


class NumpyTagBatch:
    """The paths of a batch of sentences, scored by NumPy.

    Args:
        rows: (B,) indices of the sentences.
        emissions: (B, L, T) scores.
        lengths: (B,) number of tokens of each sentence.
        transitions: The transition scores.
    """

    def __init__(
        self, rows: Integers, emissions: NDArray[np.float32], lengths: Integers, transitions: Transitions
    ) -> None:
        self.rows = rows
        self._emissions, self._lengths, self._transitions = emissions.astype(np.float64), lengths, transitions
        self._masses: dict[int, PathMass] = {}

    def best_paths(self) -> list[list[int]]:
        """Find the best paths; see `TagBatch.best_paths`.

        Returns:
            The tag ids of each sentence.
        """
        if len(self.rows) == 1:
            return [best_path(self._row(0), self._transitions)]
        return best_paths(self._emissions, self._lengths, self._transitions)

    def segment_log_probability(self, segments: Segments) -> Floats:
        """Compute the log posterior probability of segments; see `TagBatch.segment_log_probability`.

        Args:
            segments: S segments.

        Returns:
            (S,).
        """
        log_partition = np.zeros(len(self.rows))
        for row in dict.fromkeys(segments.rows.tolist()):
            log_partition[row] = self._mass(row).log_partition
        mass = BatchMass(
            self._emissions,
            self._transitions.moves,
            self._lengths,
            log_partition,
            lambda rows, positions: self._log_mass(rows, positions, suffix=False),
            lambda rows, positions: self._log_mass(rows, positions, suffix=True),
        )
        return segment_log_probability(mass, segments)

    def marginals(self) -> list[Floats]:
        """Compute the marginal probabilities of all tags; see `TagBatch.marginals`.

        Returns:
            For each sentence (tokens, tags).
        """
        return [marginals(self._row(row), self._transitions) for row in range(len(self.rows))]

    def _row(self, row: int) -> Floats:
        emissions: Floats = self._emissions[row, : self._lengths[row]]
        return emissions

    def _mass(self, row: int) -> PathMass:
        if row not in self._masses:
            self._masses[row] = path_mass(self._row(row), self._transitions)
        return self._masses[row]

    def _log_mass(self, rows: Integers, positions: Integers, suffix: bool) -> Floats:
        """Log mass of prefixes or suffixes, (S, T)."""
        values = np.empty((len(rows), self._emissions.shape[2]))
        for row in dict.fromkeys(rows.tolist()):
            mass, here = self._mass(row), rows == row
            values[here] = mass.log_suffix(positions[here]) if suffix else mass.log_prefix(positions[here])
        return values


def numpy_tag_batches(network: TaggerNetwork, columns: RaggedColumns) -> Iterator[NumpyTagBatch]:
    """Score all sentences that have tokens.

    Args:
        network: The network.
        columns: The encoded sentences.

    Yields:
        Batches, each sentence with tokens in one of them.
    """
    lengths = columns.lengths
    for rows in length_batches(lengths, BATCH_TOKENS):
        rows = rows[lengths[rows] > 0]
        if len(rows) == 1:
            emissions = _sentence_emissions(network, columns, int(rows[0]))
            yield NumpyTagBatch(rows, emissions, lengths[rows], network.transitions)
        elif len(rows):
            batch = collate(columns, rows)
            yield NumpyTagBatch(rows, network.emissions(batch, lengths[rows]), lengths[rows], network.transitions)


def _sentence_emissions(network: TaggerNetwork, columns: RaggedColumns, row: int) -> NDArray[np.float32]:
    """Compute the scores of one sentence, (1, L, tags), without padding; a long one in windows."""
    first, end = columns.offsets[row : row + 2].tolist()

    def read(start: int, stop: int) -> NDArray[np.float32]:
        return network.emissions({name: array[None, start:stop] for name, array in columns.arrays.items()})

    if not is_long(end - first):
        return read(first, end)
    parts = []
    for window in sentence_windows(end - first):
        scores = read(first + window.start, first + window.end)
        parts.append(scores[:, window.answers_from - window.start : window.answers_to - window.start])
    return np.concatenate(parts, 1)
