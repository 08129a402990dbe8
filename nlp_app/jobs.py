"""What the command line does with taggers and their data, besides training: each command as a function."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nlp_app import formats
from nlp_app.config import TaggingDataSettings, TaggingSettings, change_settings
from nlp_app.convert import convert
from nlp_app.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.errors import DataError
from nlp_app.formats.source import encoding_of, lines_of_bytes
from nlp_app.metrics import TagCounts
from nlp_app.predict import Tagger
from nlp_app.report import conversion_text, inspection
from nlp_app.schemes import NONE
from nlp_app.splits import corpus_options, labels_of, reading_remarks, some, unknown_labels
from nlp_app.streams import STDIN, bar_over, check_characters, chunks, input_of, output_to
from nlp_app.types import Record, Span, TextRecord, TokenRecord

_COLUMNS = ("token_column", "tag_column", "column")  # settings


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labelled file, read as the training data was, `changes` to the [data] settings aside; and what is
    to be said of the file."""
    corpus = _gold_corpus(tagger, path, format, changes)
    counts = TagCounts()
    with bar_over(quiet, unit="sentence", total=len(corpus.sentences)) as bar:
        for chunk in chunks(corpus.sentences, len):
            tagger.parts.tag_set.count(counts, chunk, tagger.token_spans([sentence.tokens for sentence in chunk]))
            bar.update(len(chunk))
    scores = tagger.parts.tag_set.scores(counts)
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
    with output_to(target) as out:
        for text, spans in zip(texts, tagger.tag(list(texts)), strict=True):
            out.write(_text_line(text, spans) + "\n")


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], quiet: bool
) -> None:
    """Tag a file (`-`: standard input) of any size in bounded memory, in order, in the form that it came in.

    Columns come back with the predicted tag appended; texts, tokens and JSON lines as JSON lines.
    """
    # The labels are ours to give.
    options = replace(_model_options(tagger, source, format, changes).reading, tag_column=None, labels=False)
    if _is_data_set(source, format):
        with output_to(target) as out, bar_over(quiet, unit="row") as bar:
            for chunk in chunks(formats.read(source, "hub", options), _size):
                out.writelines(line + "\n" for line in _tagged(tagger, chunk))
                bar.update(len(chunk))
        return
    with input_of(source) as stream, output_to(target) as out:
        name = STDIN if source == "-" else source
        found = format or formats.recognise_format(name, stream.head)
        if found == "brat" and format is None:
            found = "text"  # a text beside its annotations
        lines = lines_of_bytes(stream, name, encoding_of(stream.head, options.encoding))
        with bar_over(quiet, unit="line", source=lines) as bar:
            if found == "conll":
                records, again = itertools.tee(iter(bar))
                tags = _tags(tagger, formats.read_lines(records, name, found, options))
                for line in formats.append_column(again, tags, name, options):
                    out.write(line + "\n")
                return
            for chunk in chunks(formats.read_lines(iter(bar), name, found, options), _size):
                out.writelines(line + "\n" for line in _tagged(tagger, chunk))


def _tags(tagger: Tagger, records: Iterable[Record]) -> Iterator[list[str]]:
    for chunk in chunks(records, _size):
        yield from tagger.tag_tokens([record.tokens for record in chunk if isinstance(record, TokenRecord)])


def _tagged(tagger: Tagger, records: Sequence[Record]) -> Iterator[str]:
    """A JSON line for each record: spans for texts, tags for tokens."""
    spans = iter(tagger.tag([record.text for record in records if isinstance(record, TextRecord)]))
    tags = iter(tagger.tag_tokens([record.tokens for record in records if isinstance(record, TokenRecord)]))
    for record in records:
        if isinstance(record, TextRecord):
            yield _text_line(record.text, next(spans))
        else:
            yield json.dumps({"tokens": record.tokens, "ner_tags": next(tags)}, ensure_ascii=False)


def _text_line(text: str, spans: Sequence[Span]) -> str:
    found = [
        {
            "start": span.start,
            "end": span.end,
            "label": span.label,
            "text": span.text,
            "score": round(span.score, 6),
        }
        for span in spans
    ]
    return json.dumps({"text": text, "spans": found}, ensure_ascii=False)


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


def _size(record: Record) -> int:
    return len(record.tokens if isinstance(record, TokenRecord) else record.text)
