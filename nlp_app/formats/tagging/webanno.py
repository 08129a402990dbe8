r"""Read WebAnno TSV 3, the export of WebAnno and INCEpTION with all layers of a document.

`#T_SP=layer|feature|...` names a span layer and its columns, which follow the columns of each token: id, offsets, form.
A cell has the value of a feature: `_` without a span, `*` for a span without a value, `PER[1]` in all tokens of one
span, `PER|LOC` for stacked spans. Offsets count UTF-16 units of the document, whose text is only given sentence by
sentence (`#Text=`): each sentence is a record. Relations, chains and slots are skipped. The format is described in
INCEpTION's user guide, appendix "WebAnno TSV".
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nlp_app.core.errors import DataError, did_you_mean
from nlp_app.core.types import TextRecord
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import RawSpan, SpanReader

MARK = "#FORMAT=WebAnno TSV"

_LAYER = re.compile(r"#T_(SP|RL|CH)=([^|]*)\|?(.*)")

_TOKEN = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)?")

_OFFSETS = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")

_VALUE = re.compile(r"((?:[^\\]|\\.)*?)(?:\[([0-9]+)\])?", re.DOTALL)

_STACK = re.compile(r"(?:[^|\\]|\\.)+", re.DOTALL)

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "b": "\b"}

_FIRST_COLUMN = 3  # of the layers; before them are id, offsets and form

_LABEL_FEATURES = ("value", "label")

_NO_VALUE = "found a span without a value (`*`), expected a label"

_CROSSING = "spans over a sentence end, split into one for each sentence"


class _Layer(NamedTuple):
    """A span layer.

    Attributes:
        name: The name, such as `webanno.custom.Span`.
        features: The names of its columns.
        first: The first of its columns.
    """

    name: str
    features: list[str]
    first: int

    @property
    def default_label(self) -> str | None:
        """The label of spans without a value: the layer's name if it has no features, else None."""
        return self.name.rpartition(".")[2] if self.features == [""] else None


@dataclass
class _Piece:
    """A span in one sentence.

    Attributes:
        start: Offset of the first character, in the document and in UTF-16 units.
        end: Offset after the last character.
        label: The label; None without a value.
        line: The line of its first token.
    """

    start: int
    end: int
    label: str | None
    line: int


@dataclass
class _Sentence:
    """The lines of a sentence, collected one by one."""

    line: int = 0
    text: list[str] = field(default_factory=list)
    first: tuple[int, str] | None = None  # the offset and form of the first token
    pieces: list[_Piece] = field(default_factory=list)
    by_id: dict[str, _Piece] = field(default_factory=dict)


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[TextRecord]:
    """Read a record from each sentence.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options; `label_key` names the layer, and `labels` and `strict` are used.
        log: Collects repairs and the parts that are skipped.

    Yields:
        A record for each sentence.

    Raises:
        DataError: The file is invalid, or several layers hold spans and none is named. Names the line.
    """
    log = log or ReadLog(counting=False)
    reader = _Reader(name, options, log)
    numbered = enumerate(lines, 1)
    header: list[str] = []
    for number, line in numbered:
        if line.startswith(("#Text=", "#Sentence")) or (line and not line.startswith("#")):
            layer = _choose_layer(header, options, name, log)
            yield from reader.read_sentences([(number, line)], numbered, layer)
            return
        header.append(line)


class _Reader:
    """Read the sentences of one file."""

    def __init__(self, name: str, options: ReadOptions, log: ReadLog) -> None:
        self._name, self._labels, self._log = name, options.labels, log
        self._spans = SpanReader(name, log, strict=options.strict)
        self._previous: set[str] = set()  # ids of the spans in the previous sentence

    def read_sentences(
        self, first: Iterable[tuple[int, str]], remaining: Iterable[tuple[int, str]], layer: _Layer | None
    ) -> Iterator[TextRecord]:
        sentence = _Sentence()
        for lines in (first, remaining):
            for number, line in lines:
                if not line and sentence.line:
                    yield self._make_record(sentence, layer)
                    sentence = _Sentence()
                elif line.startswith("#Text="):
                    if sentence.first is not None:
                        raise DataError("found `#Text=` after tokens, expected an empty line", self._name, number)
                    sentence.line = sentence.line or number
                    sentence.text.append(_unescape(line.removeprefix("#Text=")))
                elif line and not line.startswith("#"):
                    self._add_token(sentence, line, number, layer)
        if sentence.line:
            yield self._make_record(sentence, layer)
        self._spans.finish()

    def _add_token(self, sentence: _Sentence, line: str, number: int, layer: _Layer | None) -> None:
        cells = line.split("\t")
        offsets = _OFFSETS.fullmatch(cells[1]) if len(cells) >= _FIRST_COLUMN else None
        if offsets is None or not _TOKEN.fullmatch(cells[0]) or not sentence.text:
            expected = "expected `#Text=`, then `1-1<TAB>start-end<TAB>form` for each token"
            raise DataError(f"found {line!r}, {expected}", self._name, number)
        start, end = int(offsets[1]), int(offsets[2])
        if sentence.first is None:
            sentence.first = start, _unescape(cells[2])
        if layer is None:
            return
        for label, identity in self._annotations(cells, layer, number):
            piece = sentence.by_id.get(identity)
            if piece is not None:
                piece.end = max(piece.end, end)
                continue
            if identity in self._previous:
                self._log.repair(_CROSSING, number)
            piece = _Piece(start, end, label, number)
            sentence.pieces.append(piece)
            if identity:
                sentence.by_id[identity] = piece

    def _annotations(self, cells: Sequence[str], layer: _Layer, number: int) -> Iterator[tuple[str | None, str]]:
        """Yield the label and the id of each span at a token."""
        column = layer.first + _label_feature(layer, self._name)
        if column >= len(cells):
            found = f"found {len(cells)} columns"
            raise DataError(f"{found}, expected more than {column} for the layer {layer.name}", self._name, number)
        for value in _STACK.findall(cells[column]):
            match = _VALUE.fullmatch(value)
            label, identity = (match[1], match[2] or "") if match is not None else (value, "")
            if label == "*":
                yield layer.default_label, identity
            elif label != "_":
                yield _unescape(label), identity

    def _make_record(self, sentence: _Sentence, layer: _Layer | None) -> TextRecord:
        text = "\n".join(sentence.text)
        self._previous = set(sentence.by_id)
        if not self._labels or layer is None:
            return TextRecord(text, None, sentence.line)
        start, form = sentence.first or (0, "")
        index = text.find(form)
        if index < 0 or text[:index].strip():
            reason = f"found the token {form!r}, which `#Text=` does not begin with"
            raise DataError(f"{reason}; export the document again", self._name, sentence.line)
        units = _unit_offsets(text)
        base = start - units.index(index)
        found = []
        for piece in sentence.pieces:
            begin, end = (_character_at(units, offset - base) for offset in (piece.start, piece.end))
            problem = "" if piece.label else _NO_VALUE
            raw = RawSpan(begin, end, piece.label, problem=problem, kind="spans without a label")
            span = self._spans.read_one(text, raw, "", piece.line)
            found += [span] if span is not None else []
        self._spans.end_text()
        return TextRecord(text, found, sentence.line)


def _choose_layer(header: Sequence[str], options: ReadOptions, name: str, log: ReadLog) -> _Layer | None:
    """Return the span layer to read; None if the file has none."""
    layers, first = [], _FIRST_COLUMN
    for line in header:
        match = _LAYER.fullmatch(line)
        if match is None:
            continue
        layer = _Layer(match[2], match[3].split("|"), first)
        first += len(layer.features)
        if match[1] == "SP":
            layers.append(layer)
        else:
            log.skip("layers of relations and chains")
    names = [layer.name for layer in layers]
    wanted = options.label_key
    if not options.labels:
        return None
    if wanted:
        chosen = [layer for layer in layers if wanted in (layer.name, layer.name.rpartition(".")[2])]
        if len(chosen) != 1:
            hint = did_you_mean(wanted, names)
            found = ", ".join(names) or "none"
            raise DataError(f"found no span layer {wanted!r} (layers: {found}){hint}; check data.label_key", name)
        return chosen[0]
    if len(layers) > 1:
        reason = f"found the span layers {', '.join(names)}"
        raise DataError(f"{reason}; name one (setting data.label_key)", name)
    return layers[0] if layers else None


def _label_feature(layer: _Layer, name: str) -> int:
    """Return the number of the feature that is the label: the only one, or one with a usual name."""
    for wanted in _LABEL_FEATURES:
        if wanted in layer.features:
            return layer.features.index(wanted)
    if len(layer.features) == 1:
        return 0
    found = ", ".join(layer.features)
    raise DataError(f"found the features {found} of the layer {layer.name}, expected one of them to be `value`", name)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _CONTROLS.get(match[1], match[1]), text)


def _unit_offsets(text: str) -> list[int]:
    """Return the offset of each character and of the end, in UTF-16 units."""
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + (2 if ord(character) > 0xFFFF else 1))
    return offsets


def _character_at(units: Sequence[int], offset: int) -> int:
    """Return the character at an offset in UTF-16 units; -1 for an offset within a character."""
    index = bisect_left(units, offset)
    return index if index < len(units) and units[index] == offset else -1
