"""The data of a classification run: training texts that are streamed, dev and test, and what is to be known of them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nlp_app.class_corpus import Account, Hashes, Texts, account, is_empty
from nlp_app.config import ClassDataSettings, with_bundle
from nlp_app.errors import DataError, NlpAppError
from nlp_app.features.columns import Columns
from nlp_app.features.encoded import Entry, EntryWriter, encoding_key, kept
from nlp_app.formats.classes import ClassFile, ClassOptions, open_classes
from nlp_app.formats.classes.plan import NO_LABEL, NO_TEXT, Repair
from nlp_app.holding_out import MOST_HELD_OUT, HoldOut, hold_out_texts
from nlp_app.output import checksum
from nlp_app.report import aligned
from nlp_app.tasks.classification import ClassSet
from nlp_app.types import ClassRecord

_DEV = "dev.jsonl"  # the texts that are held out
_CHOICES = {"auto": None, "yes": True, "no": False}
_SOME = 8
_LEFT_OUT = (NO_TEXT, NO_LABEL)  # told with the texts that are left out
_LINES = ("text", "label_text", "fasttext")  # formats without columns

F = TypeVar("F", bound=ClassFile)


@dataclass(frozen=True)
class ClassSplit:
    """Texts to score on, all with labels; `account` is of the whole file, `skipped` of its texts have no label."""

    account: Account
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

    train: Texts
    account: Account  # of the whole training file
    train_size: int
    label_counts: dict[str, int]  # in training
    dev: ClassSplit | None
    test: ClassSplit | None
    class_set: ClassSet
    settings: ClassDataSettings
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
        table = aligned([row[:-1] for row in rows])
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
        if self.class_set.multi_label:
            yield "texts may have several labels: each is decided by itself"
        if found.unlabelled[0]:
            yield f"{found.unlabelled[0]:,} texts without a label left out, the first in line {found.unlabelled[1]}"
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
            yield f"seen only once: {some(once)}; hardly anything can be learned of them"


def _name(path: str) -> str:
    return path if path.startswith("hf:") else Path(path).name


def _plain(options: ClassOptions) -> dict[str, Any]:
    return {
        "text_columns": list(options.text_columns),
        "label_columns": list(options.label_columns),
        "header": options.header,
        "quoting": options.quoting,
        "label_separator": options.label_separator,
    }


def some(labels: list[str]) -> str:
    """The first few labels, for a message."""
    return ", ".join(labels[:_SOME]) + (f", ... ({len(labels):,} in all)" if len(labels) > _SOME else "")


def reading_remarks(
    file: ClassFile, told: Sequence[str] = (), but: Sequence[str] = (), repairs: Sequence[Repair] | None = None
) -> Iterator[str]:
    """What was recognised and repaired as a file was read, but what was remarked of another file already;
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
        yield f"{some(unknown)}: labels that training never had; they count as missed"


def class_options(settings: ClassDataSettings, labels: bool = True) -> ClassOptions:
    """How files are read by these settings."""
    return ClassOptions(
        format=None if settings.format == "auto" else settings.format,
        encoding=None if settings.encoding == "auto" else settings.encoding,
        text_columns=columns_of(settings.text_column),
        label_columns=columns_of(settings.label_column),
        header=_CHOICES[settings.header],
        quoting=_CHOICES[settings.quoting],
        label_separator=settings.label_separator,
        labels=labels,
    )


def columns_of(names: str) -> tuple[str | int, ...]:
    """Columns as the settings have them: names, or numbers from 0 (negative: from the end), divided by commas."""
    columns = [name.strip() for name in names.split(",")] if names else []
    return tuple(int(name) if name.removeprefix("-").isdecimal() else name for name in columns)


def read_class_splits(settings: ClassDataSettings, seed: int) -> ClassData:
    """Look through the files that the settings name; the bundled corpus where they name none.

    Without a dev file, a share of the training texts is held out, if it isn't 0. Raises SettingsError or DataError.
    """
    settings = with_bundle(settings)
    file = open_classes(settings.train, class_options(settings))
    key = _key(file, settings, seed)
    notes: list[str] = []
    read = kept(
        key,
        lambda writer: _write(writer, file, settings, seed),
        lambda entry: _read(entry, file),
        say=notes.append,
    )
    siblings = replace(file.options, encoding=class_options(settings).encoding, format=None)
    found, multi_label, held, counts = read.account, read.multi_label, read.held_out, read.counts
    train = Texts(file, multi_label, held)
    class_set = ClassSet.of(counts, multi_label)
    dev = ClassSplit(found, file, read.dev) if held is not None else None
    if settings.dev:
        dev = read_split(settings.dev, siblings, multi_label)
        _check_known(dev, class_set, settings.train)
    test = read_split(settings.test, siblings, multi_label) if settings.test else None
    if test is not None and {label for labels in test.gold for label in labels}.isdisjoint(class_set.labels):
        found_labels = sorted({label for labels in test.gold for label in labels})
        expected = f"expected {some(list(class_set.labels))} as in {settings.train}"
        raise DataError(f"found the labels {some(found_labels)}, {expected}", test.file.path)
    return ClassData(train, found, read.size, counts, dev, test, class_set, settings, held, key, tuple(notes))


@dataclass(frozen=True)
class _Read:
    """What passes over the training file tell; dev: the texts that are held out."""

    account: Account
    multi_label: bool
    held_out: HoldOut | None
    size: int
    counts: dict[str, int]
    dev: list[ClassRecord]


def _key(file: ClassFile, settings: ClassDataSettings, seed: int) -> str | None:
    path = Path(file.path)
    if file.format == "hub" or not path.is_file():
        return None
    reading = (class_options(settings).encoding, file.options)  # the options as they were resolved
    chosen = (settings.multi_label, bool(settings.dev), settings.dev_share, MOST_HELD_OUT, seed)
    return encoding_key("classes", repr(reading), repr(chosen), unicodedata.unidata_version, checksum(path))


def _write(writer: EntryWriter, file: ClassFile, settings: ClassDataSettings, seed: int) -> None:
    found = account(file)
    multi_label = _is_multi_label(settings, found)
    _check_labels(found, multi_label)
    train = Texts(file, multi_label)
    held: HoldOut | None = None
    if not settings.dev and settings.dev_share:
        held = hold_out_texts(train, settings.dev_share, seed)
        with (writer.folder / _DEV).open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in Texts(file, multi_label, held, held=True))
        train = Texts(file, multi_label, held)
    size, counts = _count(train)
    if len(counts) < (1 if multi_label else 2):
        raise _too_few(list(counts), settings.train)
    hashes = {"texts": found.hashes, "pairs": found.pairs}
    writer.append("hashes", Columns(hashes, np.array([0, found.texts], dtype=np.int64)))
    writer.facts |= {
        "account": found.facts(),
        "multi_label": multi_label,
        "held": None if held is None else [held.salt, held.below, sorted(held.kept)],
        "size": size,
        "counts": counts,
    }


def _read(entry: Entry, file: ClassFile) -> _Read:
    facts, hashes = entry.facts, entry.columns["hashes"].arrays
    held, dev = None, []
    if facts["held"] is not None:
        salt, below, stay = facts["held"]
        held = HoldOut(salt, below, frozenset(stay))
        with (entry.folder / _DEV).open(encoding="utf-8") as stream:
            dev = [ClassRecord(text, tuple(labels), line) for text, labels, line in map(json.loads, stream)]
    found = Account.of(file.path, facts["account"], hashes["texts"], hashes["pairs"])
    return _Read(found, facts["multi_label"], held, facts["size"], facts["counts"], dev)


def open_alike(options: ClassOptions, opened: Callable[[ClassOptions], F]) -> F:
    """A file, as `opened` opens it, with the columns of another one; without them, if it is lines, which have none."""
    try:
        return opened(options)
    except NlpAppError as error:
        try:
            file = opened(replace(options, text_columns=(), label_columns=()))
        except NlpAppError:
            raise error from None
        if file.format not in _LINES:
            raise
        return file


def read_split(path: str | Path, options: ClassOptions, multi_label: bool) -> ClassSplit:
    """The labelled texts of a file, in memory. Raises DataError where there are none."""
    file = open_alike(options, lambda chosen: open_classes(path, chosen))
    found = Account(file.path)
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


def _is_multi_label(settings: ClassDataSettings, found: Account) -> bool:
    choice = _CHOICES[settings.multi_label]
    if choice is None:
        return found.several_at > 0
    if not choice and found.several_at:
        raise DataError(
            "found several labels, expected one for each text as data.multi_label is no; set it to yes, or mend the "
            "file",
            found.path,
            found.several_at,
        )
    return choice


def _check_labels(found: Account, multi_label: bool) -> None:
    if not found.labels:
        raise DataError(
            "found no labels; training needs texts with classes: name the column with --label-column", found.path
        )
    if len(found.labels) == 1 and not (multi_label and found.counts[0]):
        raise _too_few(list(found.labels), found.path)
    if len(found.labels) == sum(found.labels.values()) and found.texts > 2 and not multi_label:
        first = ", ".join(map(repr, list(found.labels)[:3]))
        raise DataError(
            f"found a class of its own for each of {found.texts:,} texts ({first}, ...), expected classes that repeat; "
            "name the column with --label-column",
            found.path,
        )


def _too_few(labels: Sequence[str], path: str) -> DataError:
    found = f"one class only ({labels[0]!r})" if labels else "no label of a text that isn't empty"
    return DataError(
        f"found {found}, expected two at least; name another --label-column, or add texts of other classes", path
    )


def _count(train: Texts) -> tuple[int, dict[str, int]]:
    size = 0
    counts: dict[str, int] = {}
    for record in train:
        size += 1
        for label in record.labels or ():
            counts[label] = counts.get(label, 0) + 1
    if not size:
        raise DataError("found no text with a label that isn't empty; training needs some", train.file.path)
    return size, dict(sorted(counts.items()))


def _check_known(dev: ClassSplit, class_set: ClassSet, train: str) -> None:
    for record in dev.records:
        for label in record.labels or ():
            if label not in class_set.ids:
                raise DataError(
                    f"found the label {label!r}, which {train} never has (it has {some(list(class_set.labels))}); "
                    "correct the label, or move texts with it to the training file",
                    dev.file.path,
                    record.line,
                )
