"""Readers, recognition included: files of tokens with tags, texts with spans, texts with classes."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from fuzz.choices import Choices
from fuzz.folder import file_of
from nlp_app.core.errors import DataError, NlpAppError
from nlp_app.core.types import ClassRecord, Record, TextRecord
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.formats import tagging as formats
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes, read_class_lines
from nlp_app.formats.classification.options import CLASS_FORMATS
from nlp_app.formats.io.lines import decode_lines, detect_codec
from nlp_app.formats.tagging import FORMATS, ReadLog, ReadOptions

SUFFIXES = ("", ".txt", ".conll", ".conllu", ".jsonl", ".json", ".ann", ".csv", ".tsv", ".bio")
ENCODINGS = (
    None,
    "utf-8",
    "utf-16",
    "gb18030",
    "latin-1",
    "cp1252",
    "utf-7",
    "rot13",
    "hex",
    "idna",
    "big5",
    "utf-16-le",
)
SEQUENCE_FORMATS = (None, *(name for name in FORMATS if name != "hub"))
_PATTERNS = ("segmented", "", "(.)[0-9]", "(.*?)(/.*)?")
_TEXT_KEYS = ("", "text", "Note", "data.Note")
_LABEL_KEYS = ("", "spans", "ner", "Name", "annotations")
_COLUMNS = ("upos", "xpos", "feats", "misc", "id")


def sequence_options(choices: Choices) -> ReadOptions:
    """What a reader is told; mostly nothing."""
    if choices.number(4):
        return ReadOptions()
    tag_column = choices.pick((None, -1, 0, 1, 2, 9))
    return ReadOptions(
        encoding=choices.pick(ENCODINGS),
        token_column=choices.pick((0, 1, 2, -1)),
        tag_column=tag_column,
        separator=choices.pick((None, "\t", " ")),
        token_pattern=choices.pick(_PATTERNS) or None,
        column=choices.pick(_COLUMNS),
        labels=bool(choices.number(4)),
        text_key=choices.pick(_TEXT_KEYS),
        label_key=choices.pick(_LABEL_KEYS),
        predictions=bool(choices.number(2)),
        comment_prefix=choices.pick((None, None, "%", "none")),
        strict=not choices.number(4),
    )


def check_record(record: Record) -> None:
    """That offsets are exact."""
    text = record.text
    if isinstance(record, TextRecord):
        for start, end, label in record.spans or ():
            assert 0 <= start < end <= len(record.text), record
            assert isinstance(label, str), record
        return
    assert record.tokens is not None
    assert all(record.tokens), record
    assert record.tags is None or len(record.tags) == len(record.tokens), record
    assert len(record.lines) == len(record.tokens), record
    assert (text is None) == (record.starts is None), record
    if text is not None and record.starts is not None:
        end = 0
        for start, token in zip(record.starts, record.tokens, strict=True):
            assert end <= start, record
            end = start + len(token)
            assert text[start:end] == token, record


def sequences(data: bytes) -> None:
    """A file or lines of tokens with tags, or texts with spans: records, then a corpus; brat's two files."""
    choices = Choices(data)
    suffix, format = choices.pick(SUFFIXES), choices.pick(SEQUENCE_FORMATS)
    with suppress(NlpAppError):
        options = sequence_options(choices)
        alignment = choices.pick(("expand", "contract", "strict"))
        if suffix == ".ann" or format == "brat":
            path = file_of("brat.ann", choices.part())
            file_of("brat.txt", choices.rest())
        else:
            path = file_of(f"sequences{suffix}", choices.rest())
        found = format or formats.detect_format(path)
        log = ReadLog()
        logged = list(formats.read(path, format, options, log))
        for record in logged:
            check_record(record)
        assert all(log.skipped())
        assert logged == list(formats.read(path, format, options)), "a log changes the records"
        corpus = read_corpus(path, CorpusOptions(format=format, reading=options, alignment=alignment))  # type: ignore[arg-type]
        ledger = corpus.ledger
        assert ledger.kept + ledger.adjusted + ledger.dropped == ledger.gold, ledger
        for sentence in corpus.sentences:
            assert len(sentence.starts) == len(sentence.ends)
            assert all(0 <= a < b <= len(sentence.text) for a, b in zip(sentence.starts, sentence.ends, strict=True))
            assert all(0 <= span.start < span.end <= len(sentence) for span in sentence.spans or ())
        if path.suffix != ".ann" and found not in ("brat", "hub"):
            text = path.read_bytes().decode("utf-8", "replace")
            _drained(formats.read_lines(text.split("\n"), "lines", found, options))


def _drained(records: object) -> None:
    for record in records:  # type: ignore[attr-defined]
        if not isinstance(record, ClassRecord):
            check_record(record)


def class_options(choices: Choices) -> ClassReadOptions:
    """What a reader of classes is told; mostly nothing."""
    if choices.number(3):
        return ClassReadOptions(labels=bool(choices.number(4)))
    format = choices.pick((None, *(name for name in CLASS_FORMATS if name != "hub")))
    return ClassReadOptions(
        format=format,
        encoding=choices.pick(ENCODINGS),
        text_columns=choices.pick(((), ("text",), (0,), (-1,), ("text", "title"), ("data.text",), ("a.b",))),
        label_columns=choices.pick(((), ("label",), (1,), (-1,), ("a", "b"), (0, 1), ("cats",), ("data.label",))),
        header=choices.pick((None, True, False)),
        quoting=choices.pick((None, True, False)),
        label_separator=choices.pick(("", "|", ",", " ")),
        labels=bool(choices.number(4)),
        quote_character=choices.pick((None, '"', "'")),
    )


def _check_classes(file: ClassFile) -> list[ClassRecord]:
    records = list(file)
    for record in records:
        assert isinstance(record.text, str), record
        assert record.line > 0, record
        assert record.labels is None or all(isinstance(label, str) and label for label in record.labels), record
        assert record.labels is None or len(set(record.labels)) == len(record.labels), record
        record.text.encode()
    assert all(repair.count > 0 for repair in file.repairs)
    return records


def _siblings(path: Path, options: ClassReadOptions) -> list[ClassRecord] | None:
    with suppress(NlpAppError):
        return _check_classes(open_classes(path, options))
    return None


def classes(data: bytes) -> None:
    """A file of texts with classes, read twice alike, and the same as lines of a stream."""
    choices = Choices(data)
    suffix = choices.pick(SUFFIXES)
    with suppress(NlpAppError):
        options = class_options(choices)
        content = choices.rest()
        path = file_of(f"classes{suffix}", content)
        file = open_classes(path, options)
        records = _check_classes(file)
        assert _check_classes(file) == records, "read again, it is something else"
        # By what was settled it has the same rows. Where a table is uneven, their cells may differ: neither the
        # delimiter nor the width is among what is settled.
        again = _siblings(path, file.options)
        same = again is None or [record.line for record in again] == [record.line for record in records]
        assert same or b'"' in content, "a sibling has other rows"
        text = content.decode("utf-8", "replace")
        _check_classes(read_class_lines(text.split("\n"), "lines", text, options))


def lines(data: bytes) -> None:
    """Bytes to lines, in chunks of any size, against decoding at once."""
    choices = Choices(data)
    name, size = choices.pick(ENCODINGS), 1 + choices.number(16)
    content = choices.rest()

    class Slow(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            return super().read(size)

    try:
        encoding = detect_codec(content, name)
        found = list(decode_lines(Slow(content), "lines", encoding))
    except NlpAppError:
        try:
            whole = list(decode_lines(io.BytesIO(content), "lines", detect_codec(content, name)))
        except NlpAppError:
            return
        raise AssertionError(f"in one piece it can be read: {whole!r}") from None
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise AssertionError(f"read, though it is not {encoding}: {found!r}") from error
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    assert "\0" not in text, found
    assert found == (expected if expected[-1] or text.rsplit("\n", 1)[-1] else expected[:-1]), (found, expected)
    with suppress(DataError):
        formats.detect_format("x", content)
