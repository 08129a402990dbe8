"""What the command line does with a model or with data files, besides training: each command as a function."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from tqdm import tqdm

from nlp_app import formats
from nlp_app.config import DataSettings, Settings, change_settings
from nlp_app.convert import convert
from nlp_app.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.errors import DataError
from nlp_app.formats.source import CHUNK, encoding_of, lines_of_bytes
from nlp_app.predict import Tagger
from nlp_app.report import conversion_text, inspection
from nlp_app.splits import corpus_options
from nlp_app.types import Record, Span, TextRecord, TokenRecord

T = TypeVar("T")

_CHUNK_RECORDS = 1000  # tagged together: enough to fill batches, few enough to hold
_SHOW_AFTER = 2.0  # seconds until a bar appears


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> dict[str, Any]:
    """Scores on a labelled file, read as the training data was; `changes` to the [data] settings aside."""
    options = _model_options(tagger, format, changes)
    corpus = read_corpus(path, options)
    if not corpus.labelled:
        raise DataError("found no labels; expected tags or spans to score against", path)
    with tqdm(total=len(corpus.sentences), unit="sentence", delay=_SHOW_AFTER, disable=quiet, file=sys.stderr) as bar:
        found = []
        for chunk in _chunks(corpus.sentences):
            found += tagger.token_spans([sentence.tokens for sentence in chunk])
            bar.update(len(chunk))
    scores = tagger.parts.tag_set.score(corpus.sentences, found)
    return scores | {"gold": _gold(corpus)}


def _gold(corpus: Corpus) -> dict[str, int]:
    ledger = corpus.ledger
    return {
        "spans": ledger.gold,
        "kept": ledger.kept,
        "adjusted": ledger.adjusted,
        "dropped": ledger.dropped,
        "repaired_tags": len(corpus.repairs),
    }


def _model_options(tagger: Tagger, format: str | None, changes: Sequence[str]) -> CorpusOptions:
    """How the training data was read, with the model's own tokenizer."""
    stored = tagger.parts.about.get("settings", {})
    settings = change_settings({"data": {**stored, "format": format or "auto"}}, changes, only="data").data
    # Whether a file's tags have a scheme is the model's business; which scheme, the file's own.
    scheme = "none" if tagger.parts.tag_set.scheme == "none" else None
    return corpus_options(settings, tagger.parts.tokenizer, scheme)


def inspect_files(paths: Sequence[Path], format: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """The facts of each file, and what they share."""
    settings = _data_settings(format, changes)
    corpora = [read_corpus(path, corpus_options(settings)) for path in paths]
    return inspection(corpora[0], corpora[1:])


def _data_settings(format: str | None, changes: Sequence[str]) -> DataSettings:
    settings: Settings = change_settings({"data": {"format": format or "auto"}}, changes, only="data")
    return settings.data


def tag_texts(tagger: Tagger, texts: tuple[str, ...], target: str | None) -> None:
    """A JSON line for each text."""
    with _output(target) as write:
        for text, spans in zip(texts, tagger.tag(texts), strict=True):
            write(_text_line(text, spans))


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], quiet: bool
) -> None:
    """Tag a file (`-`: standard input) of any size in bounded memory, in order, in the form that it came in.

    Columns come back with the predicted tag appended; texts, tokens and JSON lines as JSON lines.
    """
    options = _model_options(tagger, format, changes).reading
    with _input(source) as stream, _output(target) as write:
        name = "standard input" if source == "-" else source
        head = stream.peek(CHUNK)
        found = format or formats.recognise_format(name if source == "-" else source, head)
        lines = lines_of_bytes(stream, name, encoding_of(head, options.encoding))
        bar = tqdm(lines, unit="line", delay=_SHOW_AFTER, disable=quiet, file=sys.stderr)
        if found == "conll":
            records, again = itertools.tee(iter(bar))
            tags = _tags(tagger, formats.read_lines(records, name, found, options))
            for line in formats.append_column(again, tags, name, options):
                write(line)
            return
        for chunk in _chunks(formats.read_lines(iter(bar), name, found, options)):
            for line in _tagged(tagger, chunk):
                write(line)


def _tags(tagger: Tagger, records: Iterable[Record]) -> Iterator[list[str]]:
    for chunk in _chunks(records):
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


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(itertools.islice(remaining, _CHUNK_RECORDS)):
        yield chunk


@contextmanager
def _input(source: str) -> Iterator[io.BufferedReader[io.FileIO]]:
    with io.BufferedReader(_open(source), CHUNK) as stream:
        yield stream


def _open(source: str) -> io.FileIO:
    if source == "-":
        return io.FileIO(sys.stdin.fileno(), closefd=False)
    try:
        return io.FileIO(source)
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}; give a file, or - for standard input", source) from error


@contextmanager
def _output(target: str | None) -> Iterator[Callable[[str], None]]:
    """Where lines go: standard output, or a file that appears when it is complete."""
    if target is None or target == "-":
        stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="\n", write_through=False)
        try:
            yield _line_writer(stream)
        finally:
            stream.flush()
            stream.detach()
        return
    path = Path(target)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("x", encoding="utf-8", newline="\n") as file:
            yield _line_writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror}; make room or name another place", target) from error
    finally:
        aside.unlink(missing_ok=True)


def _line_writer(stream: TextIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        stream.write(line + "\n")

    return write
