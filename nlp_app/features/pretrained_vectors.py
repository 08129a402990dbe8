"""Pretrained vectors from files: GloVe and word2vec/fastText text, or `.npz` with its words beside it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import DataError
from nlp_app.text.vocab import SPECIALS, UNKNOWN, Vocabulary

_SPREAD = 0.3  # standard deviation that all values are scaled to, the one of the tagger's other embeddings

_ENOUGH_TO_TELL = 30  # dimensions from which an all-positive row can't be a trained one


class Vectors(NamedTuple):
    """A matrix whose row i belongs to row i of the vocabulary (padding and unknown: zeros), and rows left out."""

    vocabulary: Vocabulary
    matrix: NDArray[np.float32]  # (len(vocabulary), dimensions)
    untrained: int


class VectorWords(NamedTuple):
    """The words that have a pretrained vector, and the clusters that their vectors are in, if they are used.

    clusters: (len(vocabulary), CLUSTER_LEVELS), coarse to fine; ids from 2, 0 for none.
    """

    vocabulary: Vocabulary
    clusters: NDArray[np.int32] | None = None

    def rows(self, forms: Sequence[str], normalize: Callable[[str], str]) -> NDArray[np.int32]:
        """The row of each form's own vector, else of its normal form's, else that of unknown words."""
        rows = self.vocabulary.rows(forms)
        missing = np.flatnonzero(rows == UNKNOWN)
        rows[missing] = self.vocabulary.rows(normalize(forms[place]) for place in missing.tolist())
        return rows


def read_vectors(path: Path) -> Vectors:
    """The vectors of a `.npz` file, or of a text file (a word and its numbers a line, with or without a header).

    A `.npz` holds one matrix and either an array of words or, beside the file, a `vocab.json` from word to row. Rows
    that were never trained, uniform random values of one sign as tools draw them for padding and unknown words, are
    left out and counted. Values are scaled to a common spread. Raises DataError with the line for a ragged row.
    """
    try:
        words, rows = _from_npz(path) if path.suffix == ".npz" else _from_text(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"found no vectors ({error}); expected .npz, or text with a word and its numbers a line", path
        ) from error
    if not words or not np.isfinite(rows).all():
        raise DataError("found no vectors, or values that are not finite; check the file", path)
    trained = np.ones(len(words), dtype=bool)
    if rows.shape[1] >= _ENOUGH_TO_TELL:
        trained &= (rows < 0).any(axis=1)
    if not trained.any():
        raise DataError(
            "found no vector with a negative value: they are random numbers, as tools draw them for unknown words; "
            "check the file",
            path,
        )
    kept = rows[trained]
    spread = float(kept.std()) or 1.0
    matrix = np.zeros((len(kept) + len(SPECIALS), rows.shape[1]), dtype=np.float32)
    matrix[len(SPECIALS) :] = kept * (_SPREAD / spread)
    vocabulary = Vocabulary(word for word, good in zip(words, trained.tolist(), strict=True) if good)
    return Vectors(vocabulary, matrix, int((~trained).sum()))


def _from_text(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    words: dict[str, NDArray[np.float32]] = {}
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip("\r\n").rstrip(" ").split(" ")
            if number == 1 and len(values) == 1 and word.isdigit() and values[0].isdigit():
                continue  # word2vec's header; how many rows follow is for the file to show, not for the header
            width = len(next(iter(words.values()))) if words else len(values)
            if len(values) != width or width < 2:
                raise DataError(
                    f"found {len(values)} numbers, expected {max(width, 2)}; mend or remove the line",
                    path,
                    number,
                )
            try:
                row = np.array(values, dtype=np.float32)
            except ValueError as error:
                raise DataError(
                    f"found something that is no number ({error}); mend or remove the line", path, number
                ) from error
            words.setdefault(word, row)
    return list(words), np.stack(list(words.values())) if words else np.zeros((0, 0), dtype=np.float32)


def _from_npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    matrices = [array for array in arrays.values() if array.ndim == 2 and array.dtype.kind == "f"]
    names = [array for array in arrays.values() if array.ndim == 1 and array.dtype.kind == "U"]
    if len(matrices) != 1:
        raise DataError(f"found {len(matrices)} matrices of numbers among {sorted(arrays)}, expected one", path)
    rows = matrices[0].astype(np.float32)
    if names:
        words = [str(word) for word in names[0]]
        places = list(range(len(words)))
    else:
        beside = path.with_name("vocab.json")
        if not beside.is_file():
            raise DataError(f"found no array of words in it and no {beside.name} beside it; add one of them", path)
        table: dict[str, int] = json.loads(beside.read_text(encoding="utf-8"))
        words, places = list(table), list(table.values())
    if len(set(words)) != len(words) or not all(isinstance(p, int) and 0 <= p < len(rows) for p in places):
        raise DataError(f"found {len(words)} words for {len(rows)} rows that don't fit each other; check both", path)
    return words, rows[places]
