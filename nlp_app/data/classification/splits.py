"""The data of a classification run: training texts that are streamed, dev and test, and what is to be known of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.config import ClassificationDataSettings, with_bundled_corpus
from nlp_app.core.errors import DataError
from nlp_app.core.hashing import is_empty
from nlp_app.core.text_table import format_names, format_table
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.cached_scan import scan_training_file
from nlp_app.data.classification.hold_out import HoldOut
from nlp_app.data.classification.options import label_remarks, open_like_training_file, read_options
from nlp_app.data.classification.scan import FileScan, Hashes, LabeledTexts
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes
from nlp_app.formats.classification.read_plan import NO_LABEL, NO_TEXT, ReadRepair
from nlp_app.labels.class_set import ClassSet

_LEFT_OUT = (NO_TEXT, NO_LABEL)  # told with the texts that are left out


@dataclass(frozen=True)
class ClassSplit:
    """Texts to score on, all with labels; `account` is of the whole file, `skipped` of its texts have no label."""

    account: FileScan
    file: ClassFile
    records: list[ClassRecord]
    skipped: int = 0

    @property
    def gold(self) -> list[tuple[str, ...]]:
        """The labels of each text."""
        return [record.labels or () for record in self.records]


@dataclass(frozen=True)
class ClassData:
    """The texts of a run, and its classes."""

    train: LabeledTexts
    account: FileScan  # of the whole training file
    train_size: int
    label_counts: dict[str, int]  # in training
    dev: ClassSplit | None
    test: ClassSplit | None
    class_set: ClassSet
    settings: ClassificationDataSettings
    held_out: HoldOut | None
    key: str | None = None  # of the training texts in what is kept between runs; None if they can't be told from others
    notes: tuple[str, ...] = ()  # what was said as the files were read

    def scored(self) -> list[tuple[str, ClassSplit]]:
        """The splits that the finished model is scored on."""
        return [(name, split) for name, split in (("dev", self.dev), ("test", self.test)) if split is not None]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Texts and labels of each split."""
        counts: dict[str, dict[str, Any]] = {
            "train": {"file": _name(self.account.path), "texts": self.train_size, "labels": len(self.label_counts)}
        }
        for name, split in self.scored():
            labels = {label for labels in split.gold for label in labels}
            counts[name] = {"file": _name(split.file.path), "texts": len(split.records), "labels": len(labels)}
        return counts

    def about(self) -> dict[str, Any]:
        """What a model directory keeps of how the data was read."""
        return {
            "data": {"format": self.train.file.format, "options": _plain(self.train.file.options)},
            "settings": self.settings.model_dump(exclude={"train", "dev", "test", "format"}),
            "splits": self.counts(),
        }

    def files(self) -> list[Path]:
        """The files that the texts were read from."""
        paths = {self.train.file.path, *(split.file.path for _, split in self.scored())}
        return sorted(path for path in map(Path, paths) if path.is_file())

    def report(self) -> list[str]:
        """What was read, as a table, and what is odd about it: a line each."""
        rows = [["data", "texts", "labels", ""]]
        for name, counts in self.counts().items():
            file = self.train.file if name == "train" else dict(self.scored())[name].file
            source = "cut from train" if self.held_out is not None and name == "dev" else file.path
            rows.append([name, f"{counts['texts']:,}", f"{counts['labels']:,}", f"{source} ({file.format})"])
        table = format_table([row[:-1] for row in rows])
        lines = [f"{line}  {row[-1]}".rstrip() for line, row in zip(table, rows, strict=True)]
        lines += [f"note: train: {remark}" for remark in self._train_remarks()]
        hashes = np.unique(self.account.hashes)
        for name, split in self.scored():
            if self.held_out is None or name != "dev":
                remarks = split_remarks(split, self.class_set, hashes, self.train.file.remarks)
                lines += [f"note: {name}: {remark}" for remark in remarks]
        return [*lines, *self.notes]

    def _train_remarks(self) -> Iterator[str]:
        yield from reading_remarks(self.train.file, but=_LEFT_OUT, repairs=self.account.repairs)
        found = self.account
        yield from label_remarks(self.train.file, self.label_counts)
        if self.class_set.multi_label:
            yield "texts may have several labels: each is decided by itself"
        if found.unlabeled[0]:
            yield f"{found.unlabeled[0]:,} texts without a label left out, the first in line {found.unlabeled[1]}"
        none = found.counts[0] if not self.class_set.multi_label else 0
        if none:
            yield f"{none:,} texts with an empty list of labels left out"
        if found.empty[0]:
            yield f"{found.empty[0]:,} empty texts left out, the first in line {found.empty[1]}"
        if found.duplicates:
            yield f"{found.duplicates:,} texts stand in it more than once"
        if found.contradictions:
            yield f"{found.contradictions:,} texts stand in it with different labels"
        once = sorted(label for label, count in self.label_counts.items() if count == 1)
        if once:
            yield f"seen only once: {format_names(once)}; hardly anything can be learned of them"


def _name(path: str) -> str:
    return path if path.startswith("hf:") else Path(path).name


def _plain(options: ClassReadOptions) -> dict[str, Any]:
    return {
        "text_columns": list(options.text_columns),
        "label_columns": list(options.label_columns),
        "header": options.header,
        "quoting": options.quoting,
        "quote_character": options.quote_character,
        "label_separator": options.label_separator,
    }


def reading_remarks(
    file: ClassFile, told: Sequence[str] = (), but: Sequence[str] = (), repairs: Sequence[ReadRepair] | None = None
) -> Iterator[str]:
    """What was recognized and repaired as a file was read, but what was remarked of another file already;
    `but`: repairs that are told otherwise; `repairs`: where the file wasn't read just now."""
    yield from (remark for remark in file.remarks if remark not in told)
    for repair in file.repairs if repairs is None else repairs:
        if repair.what not in but:
            yield f"{repair.count:,} {repair.what}, the first in line {repair.line}"


def split_remarks(
    split: ClassSplit, class_set: ClassSet, train_hashes: Hashes, told: Sequence[str] = ()
) -> Iterator[str]:
    """What is odd about texts to score on; `told` is known already."""
    yield from reading_remarks(split.file, told, _LEFT_OUT)
    if split.skipped:
        yield f"{split.skipped:,} texts without a label left out"
    empty = sum(is_empty(record.text) for record in split.records)
    if empty:
        yield f"{empty:,} empty texts; they are scored like any other"
    shared = split.account.shared(train_hashes)
    if shared:
        yield f"{shared:,} of its texts stand in train too; scores on it flatter"
    unknown = sorted({label for labels in split.gold for label in labels}.difference(class_set.labels))
    if unknown:
        yield f"{format_names(unknown)}: labels that training never had; they count as missed"


def read_class_splits(settings: ClassificationDataSettings, seed: int) -> ClassData:
    """Look through the files that the settings name; the bundled corpus where they name none.

    Without a dev file, a share of the training texts is held out, if it isn't 0. Raises SettingsError or DataError.
    """
    settings = with_bundled_corpus(settings)
    file = open_classes(settings.train, read_options(settings))
    notes: list[str] = []
    read = scan_training_file(file, settings, seed, notes.append)
    siblings = replace(file.options, encoding=read_options(settings).encoding, format=None)
    found, multi_label, held, counts = read.account, read.multi_label, read.held_out, read.counts
    train = LabeledTexts(file, multi_label, held)
    class_set = ClassSet.of(counts, multi_label)
    dev = ClassSplit(found, file, read.dev) if held is not None else None
    if settings.dev:
        dev = read_split(settings.dev, siblings, multi_label)
        _check_known(dev, class_set, settings.train)
    test = read_split(settings.test, siblings, multi_label) if settings.test else None
    if test is not None and {label for labels in test.gold for label in labels}.isdisjoint(class_set.labels):
        found_labels = sorted({label for labels in test.gold for label in labels})
        expected = f"expected {format_names(class_set.labels)} as in {settings.train}"
        raise DataError(f"found the labels {format_names(found_labels)}, {expected}", test.file.path)
    return ClassData(train, found, read.size, counts, dev, test, class_set, settings, held, read.key, tuple(notes))


def read_split(path: str | Path, options: ClassReadOptions, multi_label: bool) -> ClassSplit:
    """The labeled texts of a file, in memory. Raises DataError where there are none."""
    file = open_like_training_file(options, lambda chosen: open_classes(path, chosen))
    found = FileScan(file.path)
    records, skipped = [], 0
    for record in file:
        found.add(record)
        if record.labels is None or (not multi_label and not record.labels):
            skipped += 1
        elif len(record.labels) > 1 and not multi_label:
            raise DataError(
                f"found {len(record.labels)} labels ({', '.join(record.labels)}), expected one as in the training data",
                file.path,
                record.line,
            )
        else:
            records.append(record)
    if not records:
        raise DataError("found no labels; expected texts with classes to score against", file.path)
    return ClassSplit(found, file, records, skipped)


def _check_known(dev: ClassSplit, class_set: ClassSet, train: str) -> None:
    for record in dev.records:
        for label in record.labels or ():
            if label not in class_set.ids:
                raise DataError(
                    f"found the label {label!r}, which {train} never has (it has {format_names(class_set.labels)}); "
                    "correct the label, or move texts with it to the training file",
                    dev.file.path,
                    record.line,
                )
