"""Files of texts with classes, read in passes: a file of any size is never in memory as a whole.

A first pass takes an `FileScan`; what follows reads the file again, with what the account has decided.
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

_NO_PAIR = 0  # in place of the hash of a text and its labels, where it has none


@dataclass
class FileScan:
    """What one pass over a file tells, in 16 bytes a text.

    `empty`, `unlabeled`: texts that training leaves out, and the first one's line. `counts`: how many texts have so
    many labels. `lengths`: how many texts have so many characters.
    """

    path: str
    texts: int = 0
    characters: int = 0
    empty: list[int] = field(default_factory=lambda: [0, 0])
    unlabeled: list[int] = field(default_factory=lambda: [0, 0])
    labels: Counter[str] = field(default_factory=Counter)
    counts: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    first_line: dict[str, int] = field(default_factory=dict)  # of each label
    several_at: int = 0  # the line of the first text with several labels
    repairs: list[ReadRepair] = field(default_factory=list)  # what was put right as the file was read
    _texts: array[int] | Hashes = field(default_factory=lambda: array("Q"))
    _pairs: array[int] | Hashes = field(default_factory=lambda: array("Q"))

    def add(self, record: ClassRecord) -> None:
        """Take a record into account; not of an account that was kept."""
        if not isinstance(self._texts, array) or not isinstance(self._pairs, array):
            raise TypeError("an account that was kept can't grow")
        text, labels, line = record
        self.texts += 1
        self.characters += len(text)
        self.lengths[len(text)] += 1
        for missing, found in ((is_empty(text), self.empty), (labels is None, self.unlabeled)):
            if missing:
                found[0] += 1
                found[1] = found[1] or line
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
        """(texts,) a hash of each text."""
        return _hashes(self._texts)

    @property
    def pairs(self) -> Hashes:
        """(texts,) a hash of each text with its labels, 0 where it has none."""
        return _hashes(self._pairs)

    @property
    def duplicates(self) -> int:
        """Texts that stood in the file before."""
        return self.texts - len(np.unique(self.hashes))

    @property
    def contradictions(self) -> int:
        """Different texts that stand in the file with different labels."""
        distinct, places = np.unique(self.pairs, return_index=True)
        _, counts = np.unique(self.hashes[places[distinct != _NO_PAIR]], return_counts=True)
        return int((counts > 1).sum())

    def shared(self, others: Hashes) -> int:
        """Texts that stand among others, given as sorted distinct hashes, too."""
        places = np.searchsorted(others, self.hashes)
        places[places == len(others)] = 0
        return int((others[places] == self.hashes).sum()) if len(others) else 0

    def length_figures(self) -> dict[str, Any]:
        """Characters of a text: least, median, mean, 95 %, most."""
        if not self.texts:
            return {"min": 0, "median": 0, "mean": 0.0, "p95": 0, "max": 0}
        sizes = sorted(self.lengths)
        below = np.cumsum([self.lengths[size] for size in sizes])
        at = [sizes[int(np.searchsorted(below, share * self.texts))] for share in (0.5, 0.95)]
        mean = round(self.characters / self.texts, 1)
        return {"min": sizes[0], "median": at[0], "mean": mean, "p95": at[1], "max": sizes[-1]}

    def facts(self) -> dict[str, Any]:
        """All but the hashes, of JSON's types."""
        plain = ("texts", "characters", "empty", "unlabeled", "first_line", "several_at")
        counters = {name: list(getattr(self, name).items()) for name in ("labels", "counts", "lengths")}
        repairs = [[repair.what, repair.count, repair.line] for repair in self.repairs]
        return {name: getattr(self, name) for name in plain} | counters | {"repairs": repairs}

    @classmethod
    def of(cls, path: str, facts: Mapping[str, Any], texts: Hashes, pairs: Hashes) -> FileScan:
        """An account that was kept: its `facts`, `hashes` and `pairs`."""
        plain: dict[str, Any] = dict(facts)
        counters: dict[str, Any] = {name: Counter(dict(plain.pop(name))) for name in ("labels", "counts", "lengths")}
        repairs = [ReadRepair(*repair) for repair in plain.pop("repairs")]
        return cls(path, **plain, **counters, repairs=repairs, _texts=texts, _pairs=pairs)


def _hashes(values: array[int] | Hashes) -> Hashes:
    return np.frombuffer(values, dtype=np.uint64) if len(values) else np.zeros(0, dtype=np.uint64)


def scan_file(file: ClassFile, progress: Iterable[ClassRecord] | None = None) -> FileScan:
    """An account of a file's records; `progress`: the same records, shown as they pass."""
    found = FileScan(file.path)
    for record in file if progress is None else progress:
        found.add(record)
    found.repairs = file.repairs
    return found


@dataclass(frozen=True)
class LabeledTexts:
    """The texts of a file that can be learned from, in its order; without those of `left_out`, or with them alone."""

    file: ClassFile
    multi_label: bool
    left_out: Container[ClassRecord] | None = None
    held: bool = False

    def __iter__(self) -> Iterator[ClassRecord]:
        for record in self.file:
            if self._fits(record) and (self.left_out is None or (record in self.left_out) == self.held):
                yield record

    def _fits(self, record: ClassRecord) -> bool:
        labels = record.labels
        return labels is not None and (self.multi_label or len(labels) == 1) and not is_empty(record.text)
