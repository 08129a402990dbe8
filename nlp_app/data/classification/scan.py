"""Scan files of labeled texts. Files are read in several passes, so that they need not fit into memory.

The first pass makes a `FileScan`. Later passes read the file again and use its results, for example if a text may have
several labels.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.hashing import is_empty, text_hash
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification import ClassFile
from nlp_app.formats.classification.read_plan import ReadRepair

Hashes = NDArray[np.uint64]

_NO_PAIR = 0  # hash of an unlabeled text with its labels


@dataclass
class FileScan:
    """Counts and hashes of a file's texts, from one pass over the file. Takes 16 bytes per text.

    Attributes:
        path: The file.
        texts: Number of texts.
        characters: Number of characters of all texts.
        empty: Number of empty texts, which training skips, and the line of the first one.
        unlabeled: Number of texts without labels, which training skips, and the line of the first one.
        labels: Number of texts of each label.
        counts: Number of texts by their number of labels.
        lengths: Number of texts by their length in characters.
        first_line: Line of the first text of each label.
        several_at: Line of the first text with several labels; 0 if each has at most one.
        repairs: The repairs that were made while reading.
    """

    path: str
    texts: int = 0
    characters: int = 0
    empty: list[int] = field(default_factory=lambda: [0, 0])
    unlabeled: list[int] = field(default_factory=lambda: [0, 0])
    labels: Counter[str] = field(default_factory=Counter)
    counts: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    first_line: dict[str, int] = field(default_factory=dict)
    several_at: int = 0
    repairs: list[ReadRepair] = field(default_factory=list)
    _texts: array[int] | Hashes = field(default_factory=lambda: array("Q"))
    _pairs: array[int] | Hashes = field(default_factory=lambda: array("Q"))

    def add(self, record: ClassRecord) -> None:
        """Add a record to the counts.

        Args:
            record: The next record of the file.

        Raises:
            TypeError: The scan was loaded from the cache.
        """
        if not isinstance(self._texts, array) or not isinstance(self._pairs, array):
            raise TypeError("can't add a record to a scan that was loaded from the cache")
        text, labels, line = record
        self.texts += 1
        self.characters += len(text)
        self.lengths[len(text)] += 1
        for is_skipped, counter in ((is_empty(text), self.empty), (labels is None, self.unlabeled)):
            if is_skipped:
                counter[0] += 1
                counter[1] = counter[1] or line
        self._texts.append(text_hash(text))
        if labels is None:
            self._pairs.append(_NO_PAIR)
            return
        self._pairs.append(text_hash("\0".join((str(len(text)), text, *sorted(labels)))))
        self.counts[len(labels)] += 1
        if len(labels) > 1:
            self.several_at = self.several_at or line
        for label in labels:
            if label not in self.labels:
                self.first_line[label] = line
            self.labels[label] += 1

    @property
    def hashes(self) -> Hashes:
        """Hash of each text, (texts,)."""
        return _hashes(self._texts)

    @property
    def pairs(self) -> Hashes:
        """Hash of each text with its labels, (texts,); 0 for a text without labels."""
        return _hashes(self._pairs)

    @property
    def duplicates(self) -> int:
        """Number of texts that repeat an earlier text of the file."""
        return self.texts - len(np.unique(self.hashes))

    @property
    def contradictions(self) -> int:
        """Number of different texts that occur with different labels."""
        distinct, indices = np.unique(self.pairs, return_index=True)
        _, counts = np.unique(self.hashes[indices[distinct != _NO_PAIR]], return_counts=True)
        return int((counts > 1).sum())

    def shared(self, others: Hashes) -> int:
        """Count the texts that also occur in another file.

        Args:
            others: Distinct hashes of the other file's texts, sorted.

        Returns:
            The number of texts; each copy counts.
        """
        indices = np.searchsorted(others, self.hashes)
        indices[indices == len(others)] = 0
        return int((others[indices] == self.hashes).sum()) if len(others) else 0

    def length_figures(self) -> dict[str, Any]:
        """Summarize the lengths of the texts.

        Returns:
            `min`, `median`, `mean`, `p95` (95th percentile) and `max` of the lengths in characters.
        """
        if not self.texts:
            return {"min": 0, "median": 0, "mean": 0.0, "p95": 0, "max": 0}
        sizes = sorted(self.lengths)
        cumulative = np.cumsum([self.lengths[size] for size in sizes])
        at = [sizes[int(np.searchsorted(cumulative, share * self.texts))] for share in (0.5, 0.95)]
        mean = round(self.characters / self.texts, 1)
        return {"min": sizes[0], "median": at[0], "mean": mean, "p95": at[1], "max": sizes[-1]}

    def facts(self) -> dict[str, Any]:
        """Return all fields except the path and the hashes, to be saved as JSON.

        Returns:
            Values of JSON's types, for `from_facts`.
        """
        plain = ("texts", "characters", "empty", "unlabeled", "first_line", "several_at")
        counters = {name: list(getattr(self, name).items()) for name in ("labels", "counts", "lengths")}
        repairs = [[repair.what, repair.count, repair.line] for repair in self.repairs]
        return {name: getattr(self, name) for name in plain} | counters | {"repairs": repairs}

    @classmethod
    def from_facts(cls, path: str, facts: Mapping[str, Any], texts: Hashes, pairs: Hashes) -> FileScan:
        """Restore a scan from the cache.

        Args:
            path: The file that was scanned.
            facts: The values of `facts`.
            texts: The values of `hashes`, (texts,).
            pairs: The values of `pairs`, (texts,).

        Returns:
            The scan; records can't be added to it.
        """
        plain: dict[str, Any] = dict(facts)
        counters: dict[str, Any] = {name: Counter(dict(plain.pop(name))) for name in ("labels", "counts", "lengths")}
        repairs = [ReadRepair(*repair) for repair in plain.pop("repairs")]
        return cls(path, **plain, **counters, repairs=repairs, _texts=texts, _pairs=pairs)


def _hashes(values: array[int] | Hashes) -> Hashes:
    return np.frombuffer(values, dtype=np.uint64) if len(values) else np.zeros(0, dtype=np.uint64)


def scan_file(file: ClassFile, progress: Iterable[ClassRecord] | None = None) -> FileScan:
    """Scan all records of a file.

    Args:
        file: The file.
        progress: The records of the same file, wrapped to show progress; None reads them from the file.

    Returns:
        The scan of the file.
    """
    scan = FileScan(file.path)
    for record in file if progress is None else progress:
        scan.add(record)
    scan.repairs = file.repairs
    return scan


@dataclass(frozen=True)
class LabeledTexts:
    """The texts of a file that training can use, in file order; the file is read again for each iteration.

    Skips empty texts, texts without labels, and texts whose number of labels does not fit `multi_label`.

    Attributes:
        file: The file.
        multi_label: If a text may have several labels or an empty list of labels.
        held_out: The records of the held-out dev set; None without one.
        select_held_out: True iterates over the held-out texts, False over the remaining ones.
    """

    file: ClassFile
    multi_label: bool
    held_out: Container[ClassRecord] | None = None
    select_held_out: bool = False

    def __iter__(self) -> Iterator[ClassRecord]:
        for record in self.file:
            if self._is_usable(record) and (self.held_out is None or (record in self.held_out) == self.select_held_out):
                yield record

    def _is_usable(self, record: ClassRecord) -> bool:
        labels = record.labels
        return labels is not None and (self.multi_label or len(labels) == 1) and not is_empty(record.text)
