"""Which names of columns or keys say that they hold the text, or the label."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlp_app.core.errors import DataError, did_you_mean
from nlp_app.formats.classification.options import is_number

# In order of preference: of a `title` and a `content`, the content is the text.
TEXT_NAMES = (
    "text", "sentence", "message", "content", "review", "comment", "tweet", "utterance", "document", "body",
    "description", "query", "question", "title", "headline", "sms", "data", "input",
    "文本", "内容", "评论", "句子", "标题",
)  # fmt: skip

LABEL_NAMES = (
    "label", "labels", "category", "categories", "class", "classes", "intent", "target", "sentiment", "topic", "topics",
    "emotion", "polarity", "tag", "tags", "标签", "类别", "分类", "情感",
)  # fmt: skip

_LISTED = 20

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\x00-\x7f]+")  # `reviewText`, `Class Index`, `review_text`


def normalize_name(name: str) -> str:
    """A name without the marks and cases that writers differ in."""
    return name.strip(' \t"\ufeff').casefold()


def find_named(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The columns that bear a known name, the most preferred first; if none does, those with a known word at an end.

    Two or more of the latter can't be told apart.
    """
    plain_names = [normalize_name(name) for name in names]
    exact = [plain_names.index(name) for name in known if name in plain_names]
    if exact:
        return exact
    words = [[word.casefold() for word in _WORDS.findall(name)] for name in names]
    for end in (-1, 0):
        found = [column for column, parts in enumerate(words) if parts and parts[end] in known]
        if found:
            return found
    return []


def resolve_column(wanted: str | int, names: Sequence[str], place: str, options: str) -> int:
    """The number of a column given by name or number. Raises DataError, listing what there is, if there is none."""
    if isinstance(wanted, str):
        found = [column for column, name in enumerate(names) if name == wanted]
        found = found or [column for column, name in enumerate(names) if normalize_name(name) == normalize_name(wanted)]
        if len(found) > 1:
            raise DataError(f"found {len(found)} columns {wanted!r}; name one by its number, from 0 ({options})", place)
        if found:
            return found[0]
    if is_number(wanted) and -len(names) <= int(wanted) < len(names):
        return int(wanted) % len(names)
    hint = did_you_mean(wanted, names) if isinstance(wanted, str) else ""
    raise DataError(f"found no column {wanted!r}, only {list_columns(names)}{hint} ({options})", place)


def list_columns(names: Sequence[str]) -> str:
    """The columns with their numbers, for messages."""
    return enumerate_names([f"{column} {name!r}" for column, name in enumerate(names)])


def enumerate_names(names: Sequence[str]) -> str:
    """Names for messages, the first of many."""
    return (
        ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "") or "none"
    )
