"""What the command line does with a model or with data files, besides training: each command as a function."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, TypeVar

from tqdm import tqdm

from nlp_app import formats
from nlp_app.config import DataSettings, Settings, change_settings
from nlp_app.convert import convert
from nlp_app.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.errors import DataError
from nlp_app.formats.source import CHUNK, encoding_of, lines_of_bytes
from nlp_app.output import no_bar, standard_output, whole_file
from nlp_app.predict import Tagger
from nlp_app.report import conversion_text, inspection
from nlp_app.schemes import NONE
from nlp_app.splits import corpus_options, labels_of, reading_remarks, some, unknown_labels
from nlp_app.types import Record, Span, TextRecord, TokenRecord

T = TypeVar("T")

STDIN = "standard input"
_CHUNK_RECORDS = 1000  # tagged together: enough to fill batches, few enough to hold
_CHUNK_SIZE = 200_000  # tokens, or characters of raw text, after which a chunk is closed
_SHOW_AFTER = 2.0  # seconds until a bar appears


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labelled file, read as the training data was, `changes` to the [data] settings aside; and what is
    to be said of the file."""
    corpus = _gold_corpus(tagger, path, format, changes)
    found = []
    with _bar(quiet, unit="sentence", total=len(corpus.sentences)) as bar:
        for chunk in _chunks(corpus.sentences, len):
            found += tagger.token_spans([sentence.tokens for sentence in chunk])
            bar.update(len(chunk))
    scores = tagger.parts.tag_set.score(corpus.sentences, found)
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
    options = _model_options(tagger, format, changes)
    corpus = read_corpus(path, options)
    if not corpus.labelled:
        raise DataError("found no labels; expected tags or spans to score against", path)
    plain, learned = tagger.parts.tag_set.scheme == NONE, tagger.parts.about["data"].get("scheme")
    other_scheme = corpus.scheme not in (None, NONE, learned) and learned is not None
    if options.scheme is None and other_scheme and not plain and path.is_file():
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


def _model_options(tagger: Tagger, format: str | None, changes: Sequence[str]) -> CorpusOptions:
    """How the training data was read, with the model's own tokenizer; the encoding is each file's own."""
    stored = tagger.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    settings = change_settings({"data": stored}, changes, only="data").data
    # Whether a file's tags have a scheme is the model's business; which scheme, the file's own.
    scheme = NONE if tagger.parts.tag_set.scheme == NONE else None
    return corpus_options(settings, tagger.parts.tokenizer, scheme)


def inspect_files(paths: Sequence[Path], format: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """The facts of each file, and what they share."""
    settings = _data_settings(format, changes)
    corpora = [read_corpus(path, corpus_options(settings)) for path in paths]
    return inspection(corpora[0], corpora[1:])


def _data_settings(format: str | None, changes: Sequence[str]) -> DataSettings:
    settings: Settings = change_settings({"data": {"format": format or "auto"}}, changes, only="data")
    return settings.data


def tag_texts(tagger: Tagger, texts: Sequence[str], target: str | None) -> None:
    """A JSON line for each text."""
    for number, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"TEXT {number}: found bytes that are not UTF-8; expected UTF-8 text")
    with _output(target) as out:
        for text, spans in zip(texts, tagger.tag(list(texts)), strict=True):
            out.write(_text_line(text, spans) + "\n")


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], quiet: bool
) -> None:
    """Tag a file (`-`: standard input) of any size in bounded memory, in order, in the form that it came in.

    Columns come back with the predicted tag appended; texts, tokens and JSON lines as JSON lines.
    """
    # The labels are ours to give.
    options = replace(_model_options(tagger, format, changes).reading, tag_column=None, labels=False)
    with _input(source) as stream, _output(target) as out:
        name = STDIN if source == "-" else source
        found = format or formats.recognise_format(name, stream.head)
        if found == "brat" and format is None:
            found = "text"  # a text beside its annotations
        lines = lines_of_bytes(stream, name, encoding_of(stream.head, options.encoding))
        with _bar(quiet, unit="line", source=lines) as bar:
            if found == "conll":
                records, again = itertools.tee(iter(bar))
                tags = _tags(tagger, formats.read_lines(records, name, found, options))
                for line in formats.append_column(again, tags, name, options):
                    out.write(line + "\n")
                return
            for chunk in _chunks(formats.read_lines(iter(bar), name, found, options), _size):
                out.writelines(line + "\n" for line in _tagged(tagger, chunk))


def _tags(tagger: Tagger, records: Iterable[Record]) -> Iterator[list[str]]:
    for chunk in _chunks(records, _size):
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


def _chunks(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Runs of items that are small enough, by number and by size, to be held in memory together."""
    chunk: list[T] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += size(item)
        if len(chunk) >= _CHUNK_RECORDS or held >= _CHUNK_SIZE:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _bar(quiet: bool, unit: str, source: Iterable[str] = (), total: int | None = None) -> tqdm[str]:
    """A bar over the lines of `source`, or one that is told of its progress; it comes only if there is a wait."""
    off = no_bar(quiet)
    return tqdm(source, total=total, unit=unit, delay=_SHOW_AFTER, disable=off, file=sys.stderr, leave=False)


class _Replayed:
    """A stream whose beginning has been looked at, and is still there to be read."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            self.head = stream.read(CHUNK)
        except OSError as error:
            raise DataError(f"can't be read: {error.strerror}", name) from error
        self._stream, self._ahead = stream, self.head

    def read(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or self._stream.read(size)


@contextmanager
def _input(source: str) -> Iterator[_Replayed]:
    if source == "-":
        if sys.stdin is None:
            raise DataError("is closed; give TEXT or --input FILE", STDIN)
        if sys.stdin.isatty():
            sys.stderr.write("reading standard input: a text a line, then Ctrl-D\n")
        yield _Replayed(sys.stdin.buffer, STDIN)
        return
    with _opened(source) as stream:
        yield _Replayed(stream, source)


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}; give a file, or - for standard input", path) from error


def _output(target: str | None) -> AbstractContextManager[TextIO]:
    return standard_output() if target is None or target == "-" else whole_file(target)
