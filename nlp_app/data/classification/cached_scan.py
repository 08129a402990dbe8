"""What passes over a training file of texts with classes tell, made once for all runs that read it alike."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlp_app.config import ClassDataSettings
from nlp_app.core.errors import DataError
from nlp_app.core.files import checksum
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.hold_out import HoldOut, hold_out_texts
from nlp_app.data.classification.options import CHOICES, class_options
from nlp_app.data.classification.scan import Account, Texts, account
from nlp_app.data.partition import MOST_HELD_OUT
from nlp_app.formats.classification import ClassFile
from nlp_app.storage.cache import Entry, EntryWriter, encoding_key, kept
from nlp_app.storage.ragged import Columns

_DEV = "dev.jsonl"  # the texts that are held out


@dataclass(frozen=True)
class StoredClasses:
    """What passes over a training file tell.

    size: texts that are learned from; counts: of each label in them; dev: the texts that are held out; key: of the
        texts in what is kept between runs, None if they can't be told from others
    """

    account: Account
    multi_label: bool
    held_out: HoldOut | None
    size: int
    counts: dict[str, int]
    dev: list[ClassRecord]
    key: str | None


def read_stored_classes(
    file: ClassFile, settings: ClassDataSettings, seed: int, say: Callable[[str], None]
) -> StoredClasses:
    """Go through a training file, and hold some texts out if the settings want it; found again if that was done before.

    say: told why it can't be kept for other runs. Raises DataError for what can't be learned from.
    """
    key = _key(file, settings, seed)
    return kept(
        key,
        lambda writer: _write(writer, file, settings, seed),
        lambda entry: _read(entry, file, key),
        say=say,
    )


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


def _read(entry: Entry, file: ClassFile, key: str | None) -> StoredClasses:
    facts, hashes = entry.facts, entry.columns["hashes"].arrays
    held, dev = None, []
    if facts["held"] is not None:
        salt, below, stay = facts["held"]
        held = HoldOut(salt, below, frozenset(stay))
        with (entry.folder / _DEV).open(encoding="utf-8") as stream:
            dev = [ClassRecord(text, tuple(labels), line) for text, labels, line in map(json.loads, stream)]
    found = Account.of(file.path, facts["account"], hashes["texts"], hashes["pairs"])
    return StoredClasses(found, facts["multi_label"], held, facts["size"], facts["counts"], dev, key)


def _is_multi_label(settings: ClassDataSettings, found: Account) -> bool:
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
