"""What the command line does with classifiers and their data, besides training: each command as a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nlp_app.class_corpus import Account, account
from nlp_app.class_splits import class_options, open_alike, read_split, reading_remarks, some, split_remarks
from nlp_app.config import ClassDataSettings, ClassSettings, change_settings
from nlp_app.errors import DataError
from nlp_app.formats.classes import ClassFile, ClassOptions, open_classes, read_class_lines
from nlp_app.formats.data_sets import is_data_set
from nlp_app.formats.source import encoding_of, lines_of_bytes
from nlp_app.predict.classifier import Classifier, check_choice, decide_all
from nlp_app.streams import STDIN, bar_over, check_characters, chunks, input_of, output_to
from nlp_app.types import ClassRecord, Label

F = TypeVar("F", bound=ClassFile)


@dataclass(frozen=True)
class Choice:
    """Which classes of a text are wanted: `top_k` of them, those of at least `threshold`; None: as the model does."""

    top_k: int | None = None
    threshold: float | None = None


def evaluate_classes(
    classifier: Classifier, path: str, settings: ClassDataSettings, quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labelled file, and what is to be said of the file."""
    parts = classifier.parts
    split = read_split(path, _model_options(classifier, settings), parts.class_set.multi_label)
    gold = {label for labels in split.gold for label in labels}
    if gold and gold.isdisjoint(classifier.labels):
        raise DataError(
            f"found the labels {some(sorted(gold))}; expected those that the model learned "
            f"({some(list(classifier.labels))}); name a file or a model that fits",
            path,
        )
    with bar_over(quiet, unit="text", total=len(split.records)) as bar:

        def texts() -> Iterator[list[str]]:
            for chunk in chunks(split.records, _size):
                yield [record.text for record in chunk]
                bar.update(len(chunk))

        found = decide_all(parts, texts(), len(split.records))
    scores = parts.class_set.score(split.gold, found.labels, found.probabilities)
    return scores, list(split_remarks(split, parts.class_set, np.zeros(0, dtype=np.uint64)))


def model_settings(classifier: Classifier, format: str | None, changes: Sequence[str]) -> ClassDataSettings:
    """How the training data was read, changed by `changes`; the encoding is each file's own."""
    stored = classifier.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    return change_settings(ClassSettings, {"data": stored}, changes, only="data").data


def _model_options(classifier: Classifier, settings: ClassDataSettings, labels: bool = True) -> ClassOptions:
    """Options for a file like the training data: its columns, unless others are named."""
    data = classifier.parts.about["data"]
    options = class_options(settings, labels)
    if options.format is None and data["format"] in ("label_text", "fasttext"):
        return replace(options, format=data["format"]) if labels else options
    return options


def classify_texts(classifier: Classifier, texts: Sequence[str], target: str | None, choice: Choice) -> None:
    """A JSON line for each text."""
    check_characters(texts)
    with output_to(target) as out:
        out.writelines(f"{line}\n" for line in _lines(classifier, list(texts), choice))


def classify_file(
    classifier: Classifier, source: str, target: str | None, settings: ClassDataSettings, choice: Choice, quiet: bool
) -> list[str]:
    """Classify a file (`-`: standard input) of any size in bounded memory, in order, a JSON line for each text; returns
    what is to be said of the file."""
    check_choice(choice.top_k, choice.threshold)
    options = _model_options(classifier, settings, labels=False)
    learned = {name: classifier.parts.about["settings"][name] for name in ("text_column", "label_column")}
    given = settings.model_dump(include=set(learned)) != learned

    def opened(how: Callable[[ClassOptions], F]) -> F:
        return how(options) if given else open_alike(options, how)

    if is_data_set(source) or (source != "-" and Path(source).is_file() and Path(source).stat().st_size):
        file = opened(lambda chosen: open_classes(source, chosen))
        _classify(classifier, file, target, choice, quiet)
        return list(reading_remarks(file))
    with input_of(source) as stream:
        if not stream.head:  # nothing in, nothing out
            _classify(classifier, (), target, choice, quiet)
            return []
        name = STDIN if source == "-" else source
        codec = encoding_of(stream.head, options.encoding)
        head, lines = stream.head.decode(codec, "replace"), lines_of_bytes(stream, name, codec)
        records = opened(lambda chosen: read_class_lines(lines, name, head, chosen))
        _classify(classifier, records, target, choice, quiet)
        return list(reading_remarks(records))


def _classify(
    classifier: Classifier, records: Iterable[ClassRecord], target: str | None, choice: Choice, quiet: bool
) -> None:
    with output_to(target) as out, bar_over(quiet, unit="text") as bar:
        for chunk in chunks(records, _size):
            out.writelines(f"{line}\n" for line in _lines(classifier, [record.text for record in chunk], choice))
            bar.update(len(chunk))


def _lines(classifier: Classifier, texts: list[str], choice: Choice) -> Iterator[str]:
    found: Sequence[Label | list[Label]] = classifier.classify(texts, top_k=choice.top_k, threshold=choice.threshold)
    for text, labels in zip(texts, found, strict=True):
        best = labels if isinstance(labels, Label) else labels[0] if labels else None
        line: dict[str, Any] = {
            "text": text,
            "label": None if best is None else best.label,
            "score": None if best is None else round(best.score, 6),
        }
        if not isinstance(labels, Label):
            line["labels"] = [{"label": each.label, "score": round(each.score, 6)} for each in labels]
        yield json.dumps(line, ensure_ascii=False)


def inspect_classes(paths: Sequence[str], settings: ClassDataSettings) -> dict[str, Any]:
    """The facts of each file of texts and classes, and what each shares with those before it."""
    options = class_options(settings)
    found: list[tuple[ClassFile, Account]] = []
    for path in paths:
        file = open_classes(path, options)
        found.append((file, account(file)))
        if len(found) == 1:
            options = replace(file.options, encoding=options.encoding, format=options.format)
    hashes = [np.unique(each.hashes) for _, each in found]
    return {
        "task": "cls",
        "files": [_facts(file, each) for file, each in found],
        "leaks": [
            {"train": found[a][1].path, "file": found[b][1].path, "count": found[b][1].shared(hashes[a])}
            for b in range(len(found))
            for a in range(b)
        ],
        "unknown": [
            {
                "train": found[0][1].path,
                "file": each.path,
                "labels": sorted(each.labels.keys() - found[0][1].labels.keys()),
            }
            for _, each in found[1:]
        ],
    }


def _facts(file: ClassFile, found: Account) -> dict[str, Any]:
    return {
        "path": found.path,
        "format": file.format,
        "remarks": list(file.remarks),
        "repairs": [{"what": each.what, "count": each.count, "line": each.line} for each in file.repairs],
        "texts": found.texts,
        "unlabelled": found.unlabelled[0],
        "empty": found.empty[0],
        "multi_label": found.several_at > 0,
        "labels": dict(found.labels.most_common()),
        "labels_per_text": {str(count): texts for count, texts in sorted(found.counts.items())},
        "characters": found.length_figures(),
        "duplicates": found.duplicates,
        "contradictions": found.contradictions,
    }


def _size(record: ClassRecord) -> int:
    return len(record.text)
