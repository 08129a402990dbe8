"""Scan a labeled training file once and cache the result for later runs."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import DataError
from nlp_app.core.files import checksum
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.hold_out import HoldOut, hold_out_texts
from nlp_app.data.classification.options import CHOICES, read_options
from nlp_app.data.classification.scan import FileScan, LabeledTexts, scan_file
from nlp_app.data.partition import MAX_HELD_OUT
from nlp_app.formats.classification import ClassFile
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, encoding_key, load_or_build
from nlp_app.storage.ragged import RaggedColumns

_DEV = "dev.jsonl"  # the held-out texts


@dataclass(frozen=True)
class TrainingScan:
    """The result of scanning a training file.

    Attributes:
        scan: Scan of the whole file.
        multi_label: If a text may have several labels.
        held_out: The rule that selects the dev texts; None without a held-out dev set.
        size: Number of training texts, without held-out ones.
        counts: Number of training texts of each label.
        dev: The held-out texts.
        key: Cache key of the training texts; None if the file's content can't be identified (a pipe or a Hub data set).
    """

    scan: FileScan
    multi_label: bool
    held_out: HoldOut | None
    size: int
    counts: dict[str, int]
    dev: list[ClassRecord]
    key: str | None


def scan_training_file(
    file: ClassFile, settings: ClassificationDataSettings, seed: int, say: Callable[[str], None]
) -> TrainingScan:
    """Scan a training file and hold out a dev set if the settings ask for one, or load the cached result.

    Args:
        file: The training file.
        settings: The `[data]` settings.
        seed: Seed of the hold-out set.
        say: Called with a message if the result can't be cached.

    Returns:
        The result of the scan, with the held-out texts.

    Raises:
        DataError: The file can't be used for training: no labels, only one class, or a different label for each text.
    """
    key = _key(file, settings, seed)
    return load_or_build(
        key,
        lambda writer: _write(writer, file, settings, seed),
        lambda entry: _read(entry, file, key),
        say=say,
    )


def _key(file: ClassFile, settings: ClassificationDataSettings, seed: int) -> str | None:
    path = Path(file.path)
    if file.format == "hub" or not path.is_file():
        return None
    reading = (read_options(settings).encoding, file.options)  # with columns, header and quoting as detected
    choices = (settings.multi_label, bool(settings.dev), settings.dev_share, MAX_HELD_OUT, seed)
    return encoding_key("classes", repr(reading), repr(choices), unicodedata.unidata_version, checksum(path))


def _write(writer: CacheEntryWriter, file: ClassFile, settings: ClassificationDataSettings, seed: int) -> None:
    scan = scan_file(file)
    multi_label = _is_multi_label(settings, scan)
    _check_labels(scan, multi_label)
    train = LabeledTexts(file, multi_label)
    held_out: HoldOut | None = None
    if not settings.dev and settings.dev_share:
        held_out = hold_out_texts(train, settings.dev_share, seed)
        with (writer.folder / _DEV).open("w", encoding="utf-8") as stream:
            dev = LabeledTexts(file, multi_label, held_out, select_held_out=True)
            stream.writelines(json.dumps(record) + "\n" for record in dev)
        train = LabeledTexts(file, multi_label, held_out)
    size, counts = _count(train)
    if len(counts) < (1 if multi_label else 2):
        raise _too_few_classes(list(counts), settings.train)
    hashes = {"texts": scan.hashes, "pairs": scan.pairs}
    writer.append("hashes", RaggedColumns(hashes, np.array([0, scan.texts], dtype=np.int64)))
    writer.facts |= {
        "account": scan.facts(),
        "multi_label": multi_label,
        "held": None if held_out is None else [held_out.salt, held_out.threshold, sorted(held_out.excluded)],
        "size": size,
        "counts": counts,
    }


def _read(entry: CacheEntry, file: ClassFile, key: str | None) -> TrainingScan:
    facts, hashes = entry.facts, entry.columns["hashes"].arrays
    held_out, dev = None, []
    if facts["held"] is not None:
        salt, threshold, excluded = facts["held"]
        held_out = HoldOut(salt, threshold, frozenset(excluded))
        with (entry.folder / _DEV).open(encoding="utf-8") as stream:
            dev = [ClassRecord(text, tuple(labels), line) for text, labels, line in map(json.loads, stream)]
    scan = FileScan.from_facts(file.path, facts["account"], hashes["texts"], hashes["pairs"])
    return TrainingScan(scan, facts["multi_label"], held_out, facts["size"], facts["counts"], dev, key)


def _is_multi_label(settings: ClassificationDataSettings, scan: FileScan) -> bool:
    choice = CHOICES[settings.multi_label]
    if choice is None:
        return scan.several_at > 0
    if not choice and scan.several_at:
        raise DataError(
            "found several labels, expected one label per text because data.multi_label is no; set it to yes, or "
            "correct the file",
            scan.path,
            scan.several_at,
        )
    return choice


def _check_labels(scan: FileScan, multi_label: bool) -> None:
    if not scan.labels:
        raise DataError(
            "found no labels; training needs labeled texts: choose the label column with --label-column", scan.path
        )
    if len(scan.labels) == 1 and not (multi_label and scan.counts[0]):
        raise _too_few_classes(list(scan.labels), scan.path)
    if len(scan.labels) == sum(scan.labels.values()) and scan.texts > 2 and not multi_label:
        first = ", ".join(map(repr, list(scan.labels)[:3]))
        raise DataError(
            f"found a different label for each of {scan.texts:,} texts ({first}, ...), expected labels that repeat. "
            "Is this the label column? Choose it with --label-column.",
            scan.path,
        )


def _too_few_classes(labels: Sequence[str], path: str) -> DataError:
    found = f"only one class ({labels[0]!r})" if labels else "no label of a non-empty text"
    return DataError(
        f"found {found}, expected at least two classes; choose another --label-column, or add texts of other classes",
        path,
    )


def _count(train: LabeledTexts) -> tuple[int, dict[str, int]]:
    size = 0
    counts: dict[str, int] = {}
    for record in train:
        size += 1
        for label in record.labels or ():
            counts[label] = counts.get(label, 0) + 1
    if not size:
        raise DataError("found no text with a label that isn't empty; add labeled texts", train.file.path)
    return size, dict(sorted(counts.items()))
