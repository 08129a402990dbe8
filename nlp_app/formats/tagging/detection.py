"""Detect the format of a file by its suffix, and by its first lines if the suffix is missing or not specific."""

from __future__ import annotations

import re
from pathlib import Path

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.formats.io.lines import CHUNK, detect_codec
from nlp_app.formats.tagging import webanno
from nlp_app.formats.tagging.columns import SCHEME_TAG, detect_layout, is_blank, is_document_start

RULE_BASED = ("conll", "conllu", "jsonl", "span_table", "webanno", "text")  # formats that `detect_format` distinguishes

_CONLLU_COMMENT = re.compile(r"# ?(sent_id|text|newdoc|newpar|global\.columns)\b")

_CONLLU_LINE = re.compile(r"[0-9]+(-[0-9]+)?\t([^\t]*\t){8}[^\t]*")

_QUESTION_CLASS = re.compile(r"[A-Z]+:[a-z]+ .+")  # TREC: a coarse class, a fine class and the question

_CAPITALS = re.compile(r"[A-Z]{2,}[A-Z0-9$]*([-_:.+|][\w$:.+|-]+)?|[^\w\s]{1,5}|[BIEMSWLUO]")

_MIN_WORDS = 6  # that show if they are a small set

# A cell of a table that begins with a list of spans, whose quotes are doubled or single.
_SPAN_CELL = re.compile(
    r"""(?:^|[,;\t])"?\[\s*(?:\{[^{}\n]*(?:""|')start(?:_offset)?(?:""|')\s*:|\[\s*[0-9]+\s*,\s*[0-9]+\s*,\s*(?:""|'))""",
    re.MULTILINE,
)

_UIMA = "found UIMA CAS XMI, which is not read; export WebAnno TSV 3.3 instead"

_COLUMN_SUFFIXES = (".conll", ".bio", ".bmes", ".iob", ".iob2", ".ner", ".pos", ".tsv")


def detect_format(path: Path, head: bytes | str, encoding: str | None = None) -> str:
    """Detect the format of a file.

    Sentences without columns are `text`, unless the suffix says that the file has columns.

    Args:
        path: The file, for its suffix and for messages.
        head: The beginning of the file.
        encoding: The codec of `head`; None to choose between UTF-16 and UTF-8 by the byte order mark.

    Returns:
        The name of the format.

    Raises:
        DataError: The file has a format of annotation tools that is not read.
        OtherTaskError: The file contains texts with classes.
    """
    suffix = path.suffix.lower()
    text = _decode(head, encoding) if isinstance(head, bytes) else head
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if len(head) >= CHUNK and len(lines) > 1:
        lines.pop()  # the last line may be incomplete
    filled = [line for line in lines if not is_blank(line)]
    if suffix == ".xmi" or (filled and "<xmi:XMI" in text):
        raise DataError(_UIMA, path)
    if filled and filled[0].startswith(webanno.MARK):
        return "webanno"
    if suffix in (".csv", ".tsv") and _SPAN_CELL.search(text):
        return "span_table"
    if suffix == ".csv":
        raise OtherTaskError(
            "found CSV without spans in its cells: use `train cls` for texts with classes, or give CoNLL columns, "
            "CoNLL-U, JSON lines or brat",
            path,
        )
    if suffix in (".jsonl", ".json", ".ndjson"):
        return "jsonl"
    if suffix == ".conllu" or _starts_as_conllu(filled):
        return "conllu"
    if suffix in _COLUMN_SUFFIXES:
        return "conll"
    if filled and filled[0].lstrip(" \t").startswith("{"):
        return "jsonl"
    if len(filled) > 1 and all(map(_QUESTION_CLASS.fullmatch, filled)):
        reason = "this looks like text classification data (a class and a text)"
        raise OtherTaskError(f"{reason}: use `train cls`, or give tokens with tags, or texts with spans", path)
    return "text" if _is_plain_text(filled, len(filled) < len(lines) - (lines[-1] == "")) else "conll"


def _decode(head: bytes, encoding: str | None) -> str:
    try:
        return head.decode(encoding or detect_codec(head, None), "replace")
    except UnicodeError:  # a few rare codecs cannot replace invalid bytes; the separators are ASCII in most of them
        return head.decode("utf-8-sig", "replace")


def _starts_as_conllu(lines: list[str]) -> bool:
    words = [line for line in lines if not line.startswith("#")]
    if not words:
        return False
    return _CONLLU_LINE.fullmatch(words[0]) is not None and (
        words[0].startswith("1\t") or words[0].startswith("1-") or any(map(_CONLLU_COMMENT.match, lines))
    )


def _is_plain_text(lines: list[str], has_blank_lines: bool) -> bool:
    """Return True if the lines are sentences, not columns.

    Sentences have no tabs, no document marks and no tags at the ends of lines. Lines of nearly always the same number
    of words are columns only if their last words look like tags: sentences may have equal lengths, too.
    """
    if any(map(is_document_start, lines)) or any(line.startswith("__label__") for line in lines):
        return False
    layout = detect_layout(lines)
    if layout.separator == "\t":
        return False
    rows = list(map(layout.split, lines))
    last_words = [row[-1] for row in rows if len(row) > 1]
    has_equal_rows = 10 * sum(len(row) == layout.columns for row in rows) > 9 * len(rows)
    may_be_columns = layout.columns == 2 or (has_blank_lines and layout.columns > 2)
    if may_be_columns and has_equal_rows and len(lines) > 2 and _look_like_tags(last_words, has_blank_lines):
        return False
    return 4 * sum(SCHEME_TAG.fullmatch(word) is not None for word in last_words) < len(lines)


def _look_like_tags(words: list[str], has_blank_lines: bool) -> bool:
    """Return True if the words are a small set, or nearly all in capitals as tags are (`NNP`, `VER:pres`)."""
    in_capitals = sum(_CAPITALS.fullmatch(word) is not None for word in words)
    distinct = len(set(words))
    is_small_set = len(words) >= _MIN_WORDS and distinct <= (0.5 if has_blank_lines else 0.2) * len(words)
    return 10 * in_capitals >= 9 * len(words) or is_small_set
