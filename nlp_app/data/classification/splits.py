"""Read the splits of a classification run. Training texts are streamed from the file; dev and test are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

_MANY_LABELS = 50  # from which a label for nearly every text is a mistake

_DISTINCT_SHARE = 0.9

_SKIPPED = (NO_TEXT, NO_LABEL)  # repairs that are reported as skipped texts


@dataclass(frozen=True)
class ClassSplit:
    """The labeled texts of a dev or test set.

    Attributes:
        scan: Scan of the whole file.
        file: The file.
        records: The texts with labels.
        skipped: Number of texts without a label, which are not in `records`.
    """

    scan: FileScan
    file: ClassFile
    records: list[ClassRecord]
    skipped: int = 0

    @property
    def gold(self) -> list[tuple[str, ...]]:
        """Gold labels of each text."""
        return [record.labels or () for record in self.records]


@dataclass(frozen=True)
class ClassData:
    """The splits of a classification run and its classes.

    Attributes:
        train: The training texts, read from the file at each iteration.
        scan: Scan of the whole training file.
        train_size: Number of training texts.
        label_counts: Number of training texts of each label.
        dev: The dev set.
        test: The test set.
        class_set: The classes of the training texts.
        settings: The `[data]` settings.
        held_out: The rule that selects the dev texts of the training file; None if dev is a file, or missing.
        key: Cache key of the training texts; None if the file's content can't be identified (a pipe or a Hub data set).
        notes: Messages from reading the files.
        warnings: Messages that are shown even if notes are not.
    """

    train: LabeledTexts
    scan: FileScan
    train_size: int
    label_counts: dict[str, int]
    dev: ClassSplit | None
    test: ClassSplit | None
    class_set: ClassSet
    settings: ClassificationDataSettings
    held_out: HoldOut | None
    key: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def scored(self) -> list[tuple[str, ClassSplit]]:
        """Return the splits that the final model is evaluated on.

        Returns:
            Name and split of dev and test, as far as they exist.
        """
        return [(name, split) for name, split in (("dev", self.dev), ("test", self.test)) if split is not None]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Count the texts and labels of each split.

        Returns:
            File name (`file`), number of texts (`texts`) and of different labels (`labels`), by split.
        """
        counts: dict[str, dict[str, Any]] = {
            "train": {"file": _name(self.scan.path), "texts": self.train_size, "labels": len(self.label_counts)}
        }
        for name, split in self.scored():
            labels = {label for labels in split.gold for label in labels}
            counts[name] = {"file": _name(split.file.path), "texts": len(split.records), "labels": len(labels)}
        return counts

    def about(self) -> dict[str, Any]:
        """Describe how the data was read, for the model directory.

        Returns:
            Values of JSON's types: `data` (format and options), `settings` and `splits` (see `counts`).
        """
        return {
            "data": {"format": self.train.file.format, "options": _plain(self.train.file.options)},
            "settings": self.settings.model_dump(exclude={"train", "dev", "test", "format"}),
            "splits": self.counts(),
        }

    def files(self) -> list[Path]:
        """List the files that the texts were read from.

        Returns:
            Paths of existing files, sorted; Hub data sets and pipes are not among them.
        """
        paths = {self.train.file.path, *(split.file.path for _, split in self.scored())}
        return sorted(path for path in map(Path, paths) if path.is_file())

    def report(self) -> list[str]:
        """Summarize the splits and list anything unusual in them.

        Returns:
            The lines of a table of the splits, then one line for each note.
        """
        rows = [["data", "texts", "labels", ""]]
        for name, counts in self.counts().items():
            file = self.train.file if name == "train" else dict(self.scored())[name].file
            source = "held out from train" if self.held_out is not None and name == "dev" else file.path
            rows.append([name, f"{counts['texts']:,}", f"{counts['labels']:,}", f"{source} ({file.format})"])
        table = format_table([row[:-1] for row in rows])
        lines = [f"{line}  {row[-1]}".rstrip() for line, row in zip(table, rows, strict=True)]
        lines += [f"note: train: {remark}" for remark in self._train_remarks()]
        hashes = np.unique(self.scan.hashes)
        for name, split in self.scored():
            if self.held_out is None or name != "dev":
                remarks = split_remarks(split, self.class_set, hashes, self.train.file.remarks)
                lines += [f"note: {name}: {remark}" for remark in remarks]
        return [*lines, *self.notes]

    def _train_remarks(self) -> Iterator[str]:
        scan = self.scan
        yield from reading_remarks(self.train.file, exclude=_SKIPPED, repairs=scan.repairs)
        yield from label_remarks(self.train.file, self.label_counts)
        if self.class_set.multi_label:
            yield "texts may have several labels: each label is predicted independently"
        if scan.unlabeled[0]:
            yield f"skipped texts without a label: {scan.unlabeled[0]:,}, the first in line {scan.unlabeled[1]}"
        without_labels = scan.counts[0] if not self.class_set.multi_label else 0
        if without_labels:
            yield f"skipped texts with an empty list of labels: {without_labels:,}"
        if scan.empty[0]:
            yield f"skipped empty texts: {scan.empty[0]:,}, the first in line {scan.empty[1]}"
        if scan.duplicates:
            yield f"duplicate texts: {scan.duplicates:,}"
        if scan.contradictions:
            yield f"texts that occur with different labels: {scan.contradictions:,}"
        rare = sorted(label for label, count in self.label_counts.items() if count == 1)
        if rare:
            yield f"labels with a single example: {format_names(rare)}; they will hardly be learned"


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
    file: ClassFile, known: Sequence[str] = (), exclude: Sequence[str] = (), repairs: Sequence[ReadRepair] | None = None
) -> Iterator[str]:
    """Describe what the reader detected and repaired in a file.

    Args:
        file: The file.
        known: Remarks to omit because they were reported for another file.
        exclude: Kinds of repairs to omit because they are reported elsewhere.
        repairs: Repairs from an earlier pass over the file; None takes those of the last pass.

    Yields:
        One remark for each detected property and each kind of repair.
    """
    yield from (remark for remark in file.remarks if remark not in known)
    for repair in file.repairs if repairs is None else repairs:
        if repair.what not in exclude:
            yield f"{repair.count:,} {repair.what}, the first in line {repair.line}"


def split_remarks(
    split: ClassSplit, class_set: ClassSet, train_hashes: Hashes, known: Sequence[str] = ()
) -> Iterator[str]:
    """List anything unusual in a dev or test set.

    Args:
        split: The dev or test set.
        class_set: The classes of the model.
        train_hashes: Distinct hashes of the training texts, sorted; empty if unknown.
        known: Remarks to omit because they were reported for another file.

    Yields:
        One remark for each finding.
    """
    yield from reading_remarks(split.file, known, _SKIPPED)
    if split.skipped:
        yield f"skipped texts without a label: {split.skipped:,}"
    empty = sum(is_empty(record.text) for record in split.records)
    if empty:
        yield f"empty texts: {empty:,}; they are evaluated like all others"
    shared = split.scan.shared(train_hashes)
    if shared:
        yield f"texts that also occur in train: {shared:,}; scores on this file will be too high"
    unknown = sorted({label for labels in split.gold for label in labels}.difference(class_set.labels))
    if unknown:
        yield f"labels that do not occur in the training data: {format_names(unknown)}; they count as missed"


def read_class_splits(settings: ClassificationDataSettings, seed: int) -> ClassData:
    """Read the files of a classification run, or the bundled corpus if the settings name no files.

    Without a dev file, the share `dev_share` of the training texts is held out as a dev set, unless it is 0.

    Args:
        settings: The `[data]` settings.
        seed: Seed of the hold-out set.

    Returns:
        The splits and the classes.

    Raises:
        SettingsError: The settings do not fit the files.
        DataError: A file can't be read, or can't be used for training or evaluation.
    """
    settings = with_bundled_corpus(settings)
    file = open_classes(settings.train, read_options(settings))
    notes: list[str] = []
    read = scan_training_file(file, settings, seed, notes.append)
    other_options = replace(file.options, encoding=read_options(settings).encoding, format=None)
    scan, multi_label, held_out, counts = read.scan, read.multi_label, read.held_out, read.counts
    _check_label_column(file, counts, read.size)
    train = LabeledTexts(file, multi_label, held_out)
    class_set = ClassSet.of(counts, multi_label)
    dev = ClassSplit(scan, file, read.dev) if held_out is not None else None
    if settings.dev:
        dev = read_split(settings.dev, other_options, multi_label)
        _check_common_label(dev, class_set, settings.train)
        if settings.strict:
            _check_known(dev, class_set, settings.train)
    test = read_split(settings.test, other_options, multi_label) if settings.test else None
    if test is not None:
        _check_common_label(test, class_set, settings.train)
    return ClassData(train, scan, read.size, counts, dev, test, class_set, settings, held_out, read.key, tuple(notes))


def read_split(path: str | Path, options: ClassReadOptions, multi_label: bool) -> ClassSplit:
    """Read the labeled texts of a dev or test file into memory.

    Args:
        path: The file, or the name of a Hub data set.
        options: The options that the training file was read with.
        multi_label: If a text may have several labels.

    Returns:
        The labeled texts.

    Raises:
        DataError: The file has no labeled text, or a text has several labels and `multi_label` is False.
    """
    file = open_like_training_file(options, lambda chosen: open_classes(path, chosen))
    scan = FileScan(file.path)
    records, skipped = [], 0
    for record in file:
        scan.add(record)
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
        raise DataError("found no labels; evaluation needs labeled texts", file.path)
    return ClassSplit(scan, file, records, skipped)


def _check_label_column(file: ClassFile, counts: Mapping[str, int], texts: int) -> None:
    """Raise an error if nearly every text has a label of its own: then the labels are probably texts or ids."""
    if len(counts) >= _MANY_LABELS and len(counts) > _DISTINCT_SHARE * texts:
        columns = ", ".join(map(repr, file.options.label_columns))
        place = f"the label column {columns}" if columns else "the label"
        raise DataError(
            f"{place} has {len(counts):,} different values in {texts:,} texts. Is it the text, or an id? Name the "
            "columns with --text-column and --label-column",
            file.path,
        )


def _check_common_label(split: ClassSplit, class_set: ClassSet, train: str) -> None:
    found = {label for labels in split.gold for label in labels}
    if found and found.isdisjoint(class_set.labels):
        expected = f"expected {format_names(class_set.labels)} as in {train}"
        raise DataError(f"found the labels {format_names(sorted(found))}, {expected}", split.file.path)


def _check_known(dev: ClassSplit, class_set: ClassSet, train: str) -> None:
    for record in dev.records:
        for label in record.labels or ():
            if label not in class_set.ids:
                raise DataError(
                    f"label {label!r} does not occur in {train} (labels there: {format_names(class_set.labels)}); "
                    "correct the label, or move texts with it to the training file",
                    dev.file.path,
                    record.line,
                )
