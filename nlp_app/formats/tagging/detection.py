"""Which format a file has: by its suffix, and by what it begins with where suffixes are shared or missing."""

from __future__ import annotations

import re
from pathlib import Path

from nlp_app.core.errors import OtherTaskError
from nlp_app.formats.io.lines import CHUNK, detect_codec
from nlp_app.formats.tagging.conll import detect_layout, is_blank, is_document_start

RULED = ("conll", "conllu", "jsonl", "text")  # `detect_format` tells these apart

_CONLLU_COMMENT = re.compile(r"# ?(sent_id|text|newdoc|newpar|global\.columns)\b")

_CONLLU_LINE = re.compile(r"[0-9]+(-[0-9]+)?\t([^\t]*\t){8}[^\t]*")

_SCHEME_TAG = re.compile(r"O|[BIEMSWLU]-.+")

_QUESTION_CLASS = re.compile(r"[A-Z]+:[a-z]+ .+")  # TREC: a coarse and a fine class, and the question

_COLUMNS = (".conll", ".bio", ".bmes", ".iob", ".iob2", ".ner", ".pos", ".tsv")


def detect_format(path: Path, head: bytes | str, encoding: str | None = None) -> str:
    """The name of the format of a file that begins with `head`.

    `encoding`: the codec of `head`; None tells UTF-16 by its mark from UTF-8.
    Sentences without columns are `text`, except where the suffix says that the file has columns.

    Raises DataError for a kind of file that holds no tokens or spans.
    """
    suffix = path.suffix.lower()
    text = _decode(head, encoding) if isinstance(head, bytes) else head
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if len(head) >= CHUNK and len(lines) > 1:
        lines.pop()  # cut in its middle
    filled = [line for line in lines if not is_blank(line)]
    if suffix == ".csv":
        raise OtherTaskError(
            "found CSV, which holds texts with classes: use `train cls`, or give CoNLL columns, CoNLL-U, JSON lines or "
            "brat",
            path,
        )
    if suffix in (".jsonl", ".json", ".ndjson"):
        return "jsonl"
    if suffix == ".conllu" or _begins_conllu(filled):
        return "conllu"
    if suffix in _COLUMNS:
        return "conll"
    if filled and filled[0].lstrip(" \t").startswith("{"):
        return "jsonl"
    if len(filled) > 1 and all(map(_QUESTION_CLASS.fullmatch, filled)):
        reason = "this looks like text classification data (a class and a text)"
        raise OtherTaskError(f"{reason}: use `train cls`, or give tokens with tags, or texts with spans", path)
    return "text" if _is_plain(filled, len(filled) < len(lines) - (lines[-1] == "")) else "conll"


def _decode(head: bytes, encoding: str | None) -> str:
    try:
        return head.decode(encoding or detect_codec(head, None), "replace")
    except UnicodeError:  # some rare codecs refuse to replace; what separates columns is ASCII in most of them
        return head.decode("utf-8-sig", "replace")


def _begins_conllu(lines: list[str]) -> bool:
    words = [line for line in lines if not line.startswith("#")]
    if not words:
        return False
    return _CONLLU_LINE.fullmatch(words[0]) is not None and (
        words[0].startswith("1\t") or words[0].startswith("1-") or any(map(_CONLLU_COMMENT.match, lines))
    )


def _is_plain(lines: list[str], blank_lines: bool) -> bool:
    """Whether these are sentences, not columns.

    No tabs, no document marks, no tags at their ends, and not two words, or where there are blank lines as many,
    in nearly each of several lines.
    """
    if any(map(is_document_start, lines)) or any(line.startswith("__label__") for line in lines):
        return False
    layout = detect_layout(lines)
    if layout.separator == "\t":
        return False
    widths = [len(layout.split(line)) for line in lines]
    alike = layout.columns == 2 or (blank_lines and layout.columns > 2)
    if alike and len(lines) > 2 and 10 * widths.count(layout.columns) > 9 * len(lines):
        return False
    ends = [fields[-1] for fields in map(layout.split, lines) if len(fields) > 1]
    return 4 * sum(_SCHEME_TAG.fullmatch(end) is not None for end in ends) < len(lines)
