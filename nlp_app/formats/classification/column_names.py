"""Names of columns and keys that contain the text or the label."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlp_app.core.errors import DataError, did_you_mean
from nlp_app.formats.classification.options import is_number

# In order of preference: if there are a `title` and a `content`, the content is the text.
TEXT_NAMES = (
    "text", "sentence", "message", "content", "review", "comment", "tweet", "utterance", "document", "body",
    "description", "query", "question", "title", "headline", "sms", "data", "input",
    "文本", "内容", "评论", "句子", "标题",
)  # fmt: skip

LABEL_NAMES = (
    "label", "labels", "category", "categories", "class", "classes", "intent", "target", "sentiment", "topic", "topics",
    "emotion", "polarity", "tag", "tags", "标签", "类别", "分类", "情感",
)  # fmt: skip

_LIST_LIMIT = 20

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\x00-\x7f]+")  # `reviewText`, `Class Index`, `review_text`


def normalize_name(name: str) -> str:
    """Normalize the case of a column name, and remove white space, quotes and byte order marks around it.

    Args:
        name: The name.

    Returns:
        The normalized name.
    """
    return name.strip(' \t"\ufeff').casefold()


def find_named(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Find the columns whose names are known.

    Args:
        names: The names of the columns.
        known: The known names, in order of preference.

    Returns:
        The numbers of the columns with a known name, in order of preference. If there are none, those whose last word,
        or else whose first word, is a known name; two or more of them are ambiguous.
    """
    plain_names = [normalize_name(name) for name in names]
    exact = [plain_names.index(name) for name in known if name in plain_names]
    if exact:
        return exact
    words = [[word.casefold() for word in _WORDS.findall(name)] for name in names]
    for position in (-1, 0):
        found = [column for column, parts in enumerate(words) if parts and parts[position] in known]
        if found:
            return found
    return []


def resolve_column(wanted: str | int, names: Sequence[str], place: str, options: str) -> int:
    """Return the number of a column that is given by name or by number.

    Args:
        wanted: The name, or the number from 0 (from the end if negative).
        names: The names of all columns.
        place: The file's name, for messages.
        options: The options that name columns, for messages.

    Returns:
        The number of the column, from 0.

    Raises:
        DataError: The column does not exist, or several columns have the name.
    """
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
    """List columns with their numbers, for messages.

    Args:
        names: The names of the columns.

    Returns:
        A phrase such as `0 'text', 1 'label'`.
    """
    return enumerate_names([f"{column} {name!r}" for column, name in enumerate(names)])


def enumerate_names(names: Sequence[str]) -> str:
    """List the first names, for messages.

    Args:
        names: The names.

    Returns:
        The first 20 names and the number of further ones; `none` without names.
    """
    return (
        ", ".join(names[:_LIST_LIMIT]) + (f" and {len(names) - _LIST_LIMIT:,} more" if len(names) > _LIST_LIMIT else "")
        or "none"
    )
