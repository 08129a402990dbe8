"""What the command line does with classifiers and their data, besides training: each command as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlp_app.bars import progress_bar
from nlp_app.bulk import Input, Plan, Question, check_plan, run_file
from nlp_app.bulk.answers import answers_of
from nlp_app.bulk.classes import settle
from nlp_app.bulk.compression import kind_of
from nlp_app.bulk.records import Item
from nlp_app.class_corpus import Account, account
from nlp_app.class_reading import class_options, open_alike
from nlp_app.class_splits import read_split, reading_remarks, split_remarks
from nlp_app.config import ClassDataSettings, ClassSettings, change_settings
from nlp_app.errors import DataError
from nlp_app.formats.classes import ClassFile, ClassOptions, Repair, open_classes
from nlp_app.formats.data_sets import is_data_set
from nlp_app.formats.source import encoding_of, lines_or_errors
from nlp_app.listing import some
from nlp_app.predict.classifier import Classifier, check_choice, decide_all
from nlp_app.streams import STDIN, check_characters, chunks, input_of, write_answers
from nlp_app.tasks.scoring import score_classes
from nlp_app.types import ClassRecord


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
    with progress_bar(quiet, unit=" texts", total=len(split.records)) as bar:

        def texts() -> Iterator[list[str]]:
            for chunk in chunks(split.records, _size):
                yield [record.text for record in chunk]
                bar.update(len(chunk))

        found = decide_all(parts, texts(), len(split.records))
    scores = score_classes(parts.class_set, split.gold, found.labels, found.probabilities)
    return scores, list(split_remarks(split, parts.class_set, np.zeros(0, dtype=np.uint64)))


def model_settings(classifier: Classifier, format: str | None, changes: Sequence[str]) -> ClassDataSettings:
    """How the training data was read, changed by `changes`; the encoding is each file's own."""
    stored = classifier.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    return change_settings(ClassSettings, {"data": stored}, changes, only="data").data


def _model_options(classifier: Classifier, settings: ClassDataSettings, labels: bool = True) -> ClassOptions:
    """Options for a file like the training data: its columns, unless others are named."""
    data = classifier.parts.about["data"]
    options = class_options(settings, labels)
    if options.format is None and data.get("format") in ("label_text", "fasttext"):
        return replace(options, format=data["format"]) if labels else options
    return options


def classify_texts(classifier: Classifier, texts: Sequence[str], target: str | None, choice: Choice) -> None:
    """A JSON line for each text."""
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(answers_of(classifier, _question(choice, target))(items), target)


def classify_file(
    classifier: Classifier, source: str, target: str | None, settings: ClassDataSettings, choice: Choice, plan: Plan
) -> tuple[list[str], list[str]]:
    """Classify a file (`-`: standard input) of any size in bounded memory, in order, a JSON line for each text; returns
    notes on how it was read, and what has to be said of the job."""
    check_choice(choice.top_k, choice.threshold)
    options = _model_options(classifier, settings, labels=False)
    learned = {name: classifier.parts.about["settings"].get(name, "") for name in ("text_column", "label_column")}
    given = settings.model_dump(include=set(learned)) != learned
    is_hub = is_data_set(source) or settings.format == "hub"
    check_plan(plan, source, target, is_hub)
    question = _question(choice, target)
    reading = {"task": "classify", "settings": settings.model_dump()}

    def opened(how: Callable[[ClassOptions], ClassFile]) -> ClassFile:
        return how(options) if given else open_alike(options, how)

    if is_hub:
        file = opened(lambda chosen: open_classes(source, chosen))
        items: Iterator[Item] = ({"line": record.line, "text": record.text} for record in file)
        rows = Input(source, source, items, reading, is_data_set=True)
        said = run_file(classifier, question, rows, target, plan)
        return list(reading_remarks(file)), said
    with input_of(source) as stream:
        name = STDIN if source == "-" else source
        if not stream.head:  # nothing in, nothing out
            empty = Input(source, name, (), reading, stream.size, codec=encoding_of(b"", options.encoding))
            return [], run_file(classifier, question, empty, target, plan)
        settled = settle(stream, name, options, opened)
        lines = lines_or_errors(stream, name, settled.codec)
        records = _filled(settled.items(lines), name)
        whole = Input(source, name, records, reading, stream.size, lambda: stream.position, settled.codec)
        said = run_file(classifier, question, whole, target, plan)
        return [*settled.remarks, *map(_repaired, settled.ledger.repairs())], said


def _question(choice: Choice, target: str | None) -> Question:
    return Question(choice.top_k, choice.threshold, kind_of(target))


def _repaired(repair: Repair) -> str:
    return f"{repair.count:,} {repair.what}, the first in line {repair.line}"


def _filled(items: Iterator[Item], name: str) -> Iterator[Item]:
    """The items; raises DataError if there is none, though the file isn't empty."""
    first = next(items, None)
    if first is None:
        raise DataError("found no text", name)
    yield first
    yield from items


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
