"""Detect the format of a file of texts with classes, from its suffix and its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import LABEL_NAMES, TEXT_NAMES, normalize_name
from nlp_app.formats.classification.dialect import find_declared_delimiter, find_delimiter, sample_rows
from nlp_app.formats.classification.label_lines import MARK
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import Sample
from nlp_app.formats.io.table_rows import Dialect
from nlp_app.formats.tagging.columns import detect_layout, is_blank, is_document_start
from nlp_app.formats.tagging.conll import has_text_column

SEQUENCES = "this is sequence labeling data (tokens or spans with labels): use `train ner`, or give texts with classes"

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl"}

_SEQUENCE_SUFFIXES = (".conll", ".conllu", ".bio", ".bmes", ".iob", ".iob2", ".ner", ".pos", ".ann")

_TAG = re.compile(r"O|[BIEMSWLU]-\S+")

_CONLLU = re.compile(r"1\t([^\t]*\t){8}[^\t]*")

_TREC = re.compile(r"[A-Z]{2,}:[a-z]+")  # a coarse and a fine class

_SIMPLE = re.compile(r"[^\s,.;!?\"'()]+")

# Words that begin sentences and are not class names: they distinguish a list of questions from labels with texts.
_FUNCTION_WORDS = frozenset({
    "a", "an", "the", "i", "you", "he", "she", "it", "we", "they", "is", "are", "was", "do", "does", "did",
    "can", "in", "on", "at", "to", "of", "and", "but", "if", "this", "that", "what", "how", "who", "when",
    "where", "why", "which", "my", "your", "there",
})  # fmt: skip


def detect_format(sample: Sample, suffix: str, options: ClassReadOptions) -> str:
    """Detect the format of a source.

    Args:
        sample: The beginning of the source.
        suffix: The suffix of the file's name, or an empty string.
        options: Reading options.

    Returns:
        A name in CLASS_FORMATS.

    Raises:
        DataError: The source is empty, or contains tokens with tags.
    """
    lines = [line for line in sample.lines if not is_blank(line)]
    if not lines:
        raise DataError("is empty: found no text", sample.name)
    first = lines[0].lstrip(" \t")
    suffix = suffix.lower()
    if SUFFIXES.get(suffix) == "jsonl" or first.startswith("{") or re.match(r"\[\s*(\{|$)", first):
        return "jsonl"
    if declared := find_declared_delimiter(sample.lines[0]):
        return "tsv" if declared == "\t" else "csv"
    _reject_sequences(sample.lines, lines, suffix, sample.name)
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if any(line.startswith(MARK) for line in lines):
        return "fasttext"
    if 10 * sum("\t" in line for line in lines) > 9 * len(lines):
        return "tsv"
    if _starts_with_labels(sample, lines, options):
        return "label_text"
    delimiter = find_delimiter(lines, options, sample.whole)
    if delimiter is not None and (options.columns or _starts_with_names(lines, delimiter, options)):
        return "csv"
    return "text"


def _reject_sequences(lines: Sequence[str], filled: Sequence[str], suffix: str, name: str) -> None:
    is_marked = any(map(is_document_start, filled)) or filled[0].startswith("#FORMAT=WebAnno")
    if suffix in _SEQUENCE_SUFFIXES or is_marked or any(map(_CONLLU.fullmatch, filled[:20])):
        raise DataError(f"{SEQUENCES}", name)
    layout = detect_layout(filled)
    rows = [layout.split(line) for line in filled]
    last_fields = [row[-1] for row in rows if len(row) > 1]
    has_tags = len(last_fields) > 2 and 10 * sum(_TAG.fullmatch(end) is not None for end in last_fields) > 9 * len(
        filled
    )
    blank = len([line for line in lines[:-1] if is_blank(line)])
    is_rectangular = layout.columns > 1 and all(len(row) == layout.columns for row in rows)
    is_short = sum(len(row[0]) for row in rows) < 8 * len(rows) and not any(" " in row[0] for row in rows)
    is_short = is_short and not (layout.separator == "\t" and has_text_column(rows))
    if has_tags or (blank > 2 and is_rectangular and is_short and 100 * blank > len(filled)):
        raise DataError(f"found {lines[0]!r} and similar lines: {SEQUENCES}", name)


def _starts_with_labels(sample: Sample, lines: Sequence[str], options: ClassReadOptions) -> bool:
    """Return True if each line begins with a label: the first words are few, repeat, and are not function words.

    If no labels are wanted, only TREC's classes count as labels, as a text must not lose its first word.
    """
    labels = _count_first_words(lines)
    if labels and all(map(_TREC.fullmatch, labels)):
        return True
    if labels and options.labels and len(labels) == 1 and not sample.whole and sample.complete:
        labels = _count_first_words(line for line in sample.all_lines() if not is_blank(line))  # sorted by class
    if not labels or not options.labels:
        return False
    is_few = len(labels) <= labels.total() / (2 if labels.total() < 20 else 5)
    is_simple = all(map(_SIMPLE.fullmatch, labels)) and _FUNCTION_WORDS.isdisjoint(map(str.casefold, labels))
    return len(labels) > 1 and is_few and is_simple


def _count_first_words(lines: Iterable[str]) -> Counter[str]:
    """Count the words that lines begin with. Empty if a line has fewer than two words, or begins with a space."""
    counts: Counter[str] = Counter()
    for line in lines:
        word, *rest = re.split(r"[ \t]", line, maxsplit=1)
        if not rest or not word:
            return Counter()
        counts[word] += 1
    return counts


def _starts_with_names(lines: Sequence[str], delimiter: str, options: ClassReadOptions) -> bool:
    rows = sample_rows(lines[:1], Dialect(delimiter, True), True)
    names = {normalize_name(cell) for row in rows for cell in row}
    return options.header is True or (len(names) > 1 and not names.isdisjoint(TEXT_NAMES + LABEL_NAMES))
