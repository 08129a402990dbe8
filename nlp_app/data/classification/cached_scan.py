"""What passes over a training file of texts with classes tell, made once for all runs that read it alike."""

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
from nlp_app.data.partition import MOST_HELD_OUT
from nlp_app.formats.classification import ClassFile
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, encoding_key, load_or_build
from nlp_app.storage.ragged import RaggedColumns

_DEV = "dev.jsonl"  # the texts that are held out


@dataclass(frozen=True)
class TrainingScan:
    """What passes over a training file tell.

    size: texts that are learned from; counts: of each label in them; dev: the texts that are held out; key: of the
        texts in what is kept between runs, None if they can't be told from others
    """

    account: FileScan
    multi_label: bool
    held_out: HoldOut | None
    size: int
    counts: dict[str, int]
    dev: list[ClassRecord]
    key: str | None


def scan_training_file(
    file: ClassFile, settings: ClassificationDataSettings, seed: int, say: Callable[[str], None]
) -> TrainingScan:
    """Go through a training file, and hold some texts out if the settings want it; found again if that was done before.

    say: told why it can't be kept for other runs. Raises DataError for what can't be learned from.
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
    reading = (read_options(settings).encoding, file.options)  # the options as they were resolved
    chosen = (settings.multi_label, bool(settings.dev), settings.dev_share, MOST_HELD_OUT, seed)
    return encoding_key("classes", repr(reading), repr(chosen), unicodedata.unidata_version, checksum(path))


def _write(writer: CacheEntryWriter, file: ClassFile, settings: ClassificationDataSettings, seed: int) -> None:
    found = scan_file(file)
    multi_label = _is_multi_label(settings, found)
    _check_labels(found, multi_label)
    train = LabeledTexts(file, multi_label)
    held: HoldOut | None = None
    if not settings.dev and settings.dev_share:
        held = hold_out_texts(train, settings.dev_share, seed)
        with (writer.folder / _DEV).open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in LabeledTexts(file, multi_label, held, held=True))
        train = LabeledTexts(file, multi_label, held)
    size, counts = _count(train)
    if len(counts) < (1 if multi_label else 2):
        raise _too_few(list(counts), settings.train)
    hashes = {"texts": found.hashes, "pairs": found.pairs}
    writer.append("hashes", RaggedColumns(hashes, np.array([0, found.texts], dtype=np.int64)))
    writer.facts |= {
        "account": found.facts(),
        "multi_label": multi_label,
        "held": None if held is None else [held.salt, held.below, sorted(held.kept)],
        "size": size,
        "counts": counts,
    }


def _read(entry: CacheEntry, file: ClassFile, key: str | None) -> TrainingScan:
    facts, hashes = entry.facts, entry.columns["hashes"].arrays
    held, dev = None, []
    if facts["held"] is not None:
        salt, below, stay = facts["held"]
        held = HoldOut(salt, below, frozenset(stay))
        with (entry.folder / _DEV).open(encoding="utf-8") as stream:
            dev = [ClassRecord(text, tuple(labels), line) for text, labels, line in map(json.loads, stream)]
    found = FileScan.of(file.path, facts["account"], hashes["texts"], hashes["pairs"])
    return TrainingScan(found, facts["multi_label"], held, facts["size"], facts["counts"], dev, key)


def _is_multi_label(settings: ClassificationDataSettings, found: FileScan) -> bool:
    choice = CHOICES[settings.multi_label]
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


def _check_labels(found: FileScan, multi_label: bool) -> None:
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


def _count(train: LabeledTexts) -> tuple[int, dict[str, int]]:
    size = 0
    counts: dict[str, int] = {}
    for record in train:
        size += 1
        for label in record.labels or ():
            counts[label] = counts.get(label, 0) + 1
    if not size:
        raise DataError("found no text with a label that isn't empty; training needs some", train.file.path)
    return size, dict(sorted(counts.items()))
