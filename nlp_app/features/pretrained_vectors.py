"""Read pretrained word vectors: text files (GloVe, word2vec, fastText), or `.npz` files."""

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

_STANDARD_DEVIATION = 0.3  # values are scaled to it; the same as in the tagger's other embeddings

_MIN_DIMENSIONS = 30  # with that many, a row without negative values is not trained


class Vectors(NamedTuple):
    """Pretrained vectors and their words.

    Attributes:
        vocabulary: The words.
        matrix: (len(vocabulary), dimensions) vector of each row of the vocabulary; zeros for padding and unknown words.
        untrained: Number of untrained rows that were skipped.
    """

    vocabulary: Vocabulary
    matrix: NDArray[np.float32]
    untrained: int


class VectorWords(NamedTuple):
    """The words that have a pretrained vector, and the clusters of their vectors.

    Attributes:
        vocabulary: The words.
        clusters: (len(vocabulary), CLUSTER_LEVELS) cluster ids, coarse to fine, from 2; 0 for no cluster. None:
            clusters are not used.
    """

    vocabulary: Vocabulary
    clusters: NDArray[np.int32] | None = None

    def rows(self, forms: Sequence[str], normalize: Callable[[str], str]) -> NDArray[np.int32]:
        """Look up the rows of tokens, by form or else by normal form.

        Args:
            forms: The tokens as written in the text.
            normalize: Returns the normal form of a token.

        Returns:
            (forms,) the row of each; UNKNOWN if there is no vector for it.
        """
        rows = self.vocabulary.rows(forms)
        missing = np.flatnonzero(rows == UNKNOWN)
        rows[missing] = self.vocabulary.rows(normalize(forms[place]) for place in missing.tolist())
        return rows


def read_vectors(path: Path) -> Vectors:
    """Read pretrained vectors from a `.npz` file or a text file.

    A text file has a word and its numbers on each line, with or without a header. A `.npz` file has one matrix, and
    either an array of words or, in the same directory, a `vocab.json` that maps words to rows. Untrained rows are
    skipped and counted: some tools fill the rows of padding and unknown words with uniform random values of one sign.
    All values are scaled to a common standard deviation.

    Args:
        path: The file.

    Returns:
        The vectors.

    Raises:
        DataError: The file has no vectors, or a line has another number of values (with the line number).
    """
    try:
        words, rows = _from_npz(path) if path.suffix == ".npz" else _from_text(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"found no vectors ({error}); expected .npz, or text with a word and its numbers on each line", path
        ) from error
    if not words or not np.isfinite(rows).all():
        raise DataError("found no vectors, or values that are not finite; check the file", path)
    trained = np.ones(len(words), dtype=bool)
    if rows.shape[1] >= _MIN_DIMENSIONS:
        trained &= (rows < 0).any(axis=1)
    if not trained.any():
        raise DataError(
            "found no vectors with negative values, expected trained vectors; all rows look like the random numbers "
            "that tools use for unknown words. Check the file",
            path,
        )
    trained_rows = rows[trained]
    spread = float(trained_rows.std()) or 1.0
    matrix = np.zeros((len(trained_rows) + len(SPECIALS), rows.shape[1]), dtype=np.float32)
    matrix[len(SPECIALS) :] = trained_rows * (_STANDARD_DEVIATION / spread)
    vocabulary = Vocabulary(word for word, good in zip(words, trained.tolist(), strict=True) if good)
    return Vectors(vocabulary, matrix, int((~trained).sum()))


def _from_text(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    words: dict[str, NDArray[np.float32]] = {}
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip("\r\n").rstrip(" ").split(" ")
            if number == 1 and len(values) == 1 and word.isdigit() and values[0].isdigit():
                continue  # header of word2vec; the number of rows in it is not needed
            width = len(next(iter(words.values()))) if words else len(values)
            if len(values) != width or width < 2:
                raise DataError(
                    f"found {len(values)} numbers, expected {max(width, 2)}; correct or remove the line",
                    path,
                    number,
                )
            try:
                row = np.array(values, dtype=np.float32)
            except ValueError as error:
                raise DataError(
                    f"found a value that is not a number ({error}); correct or remove the line", path, number
                ) from error
            words.setdefault(word, row)
    return list(words), np.stack(list(words.values())) if words else np.zeros((0, 0), dtype=np.float32)


def _from_npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    matrices = [array for array in arrays.values() if array.ndim == 2 and array.dtype.kind == "f"]
    names = [array for array in arrays.values() if array.ndim == 1 and array.dtype.kind == "U"]
    if len(matrices) != 1:
        raise DataError(
            f"found {len(matrices)} matrices of numbers among {sorted(arrays)}, expected one; "
            "save the vectors as one matrix",
            path,
        )
    rows = matrices[0].astype(np.float32)
    if names:
        words = [str(word) for word in names[0]]
        places = list(range(len(words)))
    else:
        vocab_path = path.with_name("vocab.json")
        if not vocab_path.is_file():
            raise DataError(
                f"found no array of words in it and no {vocab_path.name} in its directory; add one of them", path
            )
        table: dict[str, int] = json.loads(vocab_path.read_text(encoding="utf-8"))
        words, places = list(table), list(table.values())
    if len(set(words)) != len(words) or not all(isinstance(p, int) and 0 <= p < len(rows) for p in places):
        raise DataError(f"found {len(words)} words that do not match the {len(rows)} rows; check both", path)
    return words, rows[places]
