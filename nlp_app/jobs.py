"""What the command line does with taggers and their data, besides training: each command as a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nlp_app import formats
from nlp_app.bars import progress_bar
from nlp_app.bulk import Input, Plan, Question, check_plan, run_file
from nlp_app.bulk.answers import answers_of
from nlp_app.bulk.compression import kind_of
from nlp_app.bulk.records import Item
from nlp_app.bulk.sequences import item_of, sequence_items
from nlp_app.config import TaggingDataSettings, TaggingSettings, change_settings
from nlp_app.convert import convert
from nlp_app.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.errors import DataError
from nlp_app.formats.compressed import inner_path
from nlp_app.formats.source import encoding_of, lines_or_errors
from nlp_app.listing import some
from nlp_app.metrics import TagCounts
from nlp_app.predict import Tagger
from nlp_app.report import conversion_text, inspection
from nlp_app.schemes import NONE
from nlp_app.splits import corpus_options, labels_of, reading_remarks, unknown_labels
from nlp_app.streams import STDIN, check_characters, chunks, input_of, write_answers
from nlp_app.tasks.scoring import count_spans, span_scores

_COLUMNS = ("token_column", "tag_column", "column")  # settings


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labelled file, read as the training data was, `changes` to the [data] settings aside; and what is
    to be said of the file."""
    corpus = _gold_corpus(tagger, path, format, changes)
    counts = TagCounts()
    with progress_bar(quiet, unit=" sentences", total=len(corpus.sentences)) as bar:
        for chunk in chunks(corpus.sentences, len):
            count_spans(
                tagger.parts.tag_set, counts, chunk, tagger.token_spans([sentence.tokens for sentence in chunk])
            )
            bar.update(len(chunk))
    scores = span_scores(tagger.parts.tag_set, counts)
    remarks = [*reading_remarks(corpus), *unknown_labels(tagger.labels, corpus)]
    return scores | {"gold": _gold(corpus)}, remarks


def _gold(corpus: Corpus) -> dict[str, int]:
    ledger = corpus.ledger
    return {
        "spans": ledger.gold,
        "kept": ledger.kept,
        "adjusted": ledger.adjusted,
        "dropped": ledger.dropped,
        "repaired_tags": len(corpus.repairs),
    }


def _gold_corpus(tagger: Tagger, path: Path, format: str | None, changes: Sequence[str]) -> Corpus:
    """A file with labels that the model can be scored on."""
    options = _model_options(tagger, path, format, changes)
    corpus = read_corpus(path, options)
    if not corpus.labelled:
        raise DataError("found no labels; expected tags or spans to score against", path)
    plain, learned = tagger.parts.tag_set.scheme == NONE, tagger.parts.about["data"].get("scheme")
    other_scheme = corpus.scheme not in (None, NONE, learned) and learned is not None
    if options.scheme is None and other_scheme and not plain and (path.is_file() or _is_data_set(path, format)):
        corpus = _as_learned(corpus, path, options, learned)
    labels = labels_of(corpus.sentences)
    if (corpus.scheme == NONE) != plain or (labels and labels.isdisjoint(tagger.labels)):
        kind = "a label for each token" if plain else "labelled spans"
        raise DataError(
            f"found the labels {some(labels)}; expected {kind}, as the model learned ({some(tagger.labels)}); "
            "name a file or a model that fits",
            path,
        )
    return corpus


def _as_learned(corpus: Corpus, path: Path, options: CorpusOptions, scheme: str) -> Corpus:
    """The file read in the training data's scheme, unless that breaks more tags than the scheme recognised in it:
    a short file may not show its scheme."""
    try:
        other = read_corpus(path, replace(options, scheme=scheme))
    except DataError:
        return corpus
    return other if len(other.repairs) <= len(corpus.repairs) else corpus


def _model_options(tagger: Tagger, path: str | Path, format: str | None, changes: Sequence[str]) -> CorpusOptions:
    """How the training data was read, with the model's own tokenizer; the encoding is each file's own, and so are the
    columns, where one is a data set and the other a file."""
    stored = tagger.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    if _is_data_set(path, format) != (tagger.parts.about["data"].get("format") == "hub"):
        stored = {name: value for name, value in stored.items() if name not in _COLUMNS}
    settings = change_settings(TaggingSettings, {"data": stored}, changes, only="data").data
    # Whether a file's tags have a scheme is the model's business; which scheme, the file's own.
    scheme = NONE if tagger.parts.tag_set.scheme == NONE else None
    return corpus_options(settings, tagger.parts.tokenizer, scheme)


def _is_data_set(path: str | Path, format: str | None) -> bool:
    return format == "hub" or (format is None and formats.is_data_set(path))


def inspect_files(paths: Sequence[Path], format: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """The facts of each file, and what they share."""
    settings = _data_settings(format, changes)
    corpora = [read_corpus(path, corpus_options(settings)) for path in paths]
    return inspection(corpora[0], corpora[1:])


def _data_settings(format: str | None, changes: Sequence[str]) -> TaggingDataSettings:
    return change_settings(TaggingSettings, {"data": {"format": format or "auto"}}, changes, only="data").data


def tag_texts(tagger: Tagger, texts: Sequence[str], target: str | None) -> None:
    """A JSON line for each text."""
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(answers_of(tagger, Question(compression=kind_of(target)))(items), target)


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], plan: Plan
) -> list[str]:
    """Tag a file (`-`: standard input) of any size in bounded memory, in order, in the form that it came in; returns
    what is to be said at the end.

    Columns come back with the predicted tag appended; texts, tokens and JSON lines as JSON lines.
    """
    # The labels are ours to give.
    options = replace(_model_options(tagger, source, format, changes).reading, tag_column=None, labels=False)
    is_data_set = _is_data_set(source, format)
    check_plan(plan, source, target, is_data_set)
    question = Question(compression=kind_of(target))
    reading = {"task": "tag", "format": format, "changes": list(changes)}
    if is_data_set:
        rows = map(item_of, formats.read(source, "hub", options))
        return run_file(tagger, question, Input(source, source, rows, reading, is_data_set=True), target, plan)
    with input_of(source) as stream:
        name = STDIN if source == "-" else source
        found = format or formats.recognise_format(inner_path(name), stream.head)
        if found == "brat" and format is None:
            found = "text"  # a text beside its annotations
        codec = encoding_of(stream.head, options.encoding)
        items = sequence_items(lines_or_errors(stream, name, codec), name, found, options)
        given = Input(source, name, items, reading, stream.size, lambda: stream.position, codec)
        return run_file(tagger, question, given, target, plan)


@dataclass(frozen=True)
class ConversionTarget:
    """What `convert` is to write; None: what OUT's suffix or the source suggests."""

    format: str | None = None
    scheme: str | None = None
    shape: Literal["tokens", "text"] | None = None


def convert_file(
    source: Path, target: Path, wanted: ConversionTarget, format: str | None, changes: Sequence[str]
) -> str:
    """Convert data between formats and schemes; returns what is to be said of it."""
    report = convert(
        source,
        target,
        options=corpus_options(_data_settings(format, changes)),
        target_format=wanted.format,
        target_scheme=wanted.scheme,
        shape=wanted.shape,
    )
    return conversion_text(report)
