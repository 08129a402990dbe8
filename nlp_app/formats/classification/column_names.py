"""Names of columns and keys that contain the text or the label."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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
    "emotion", "polarity", "tag", "tags", "标签", "类别", "分类", "情感", "annotation",
)  # fmt: skip

_WHOLE_NAMES = frozenset({"annotation"})  # `annotation_id` is no label

# `text_lang`, `label_count`: the last word says that the column describes the text or the label.
_SUFFIXES = frozenset({
    "at", "author", "by", "confidence", "count", "counts", "created", "date", "datetime", "hash", "lang", "language",
    "len", "length", "likes", "link", "location", "platform", "prob", "probability", "size", "source", "time",
    "timestamp", "updated", "uri", "url", "user", "username", "version", "votes", "weight",
})  # fmt: skip

# The same for texts only: `label_id`, `class_index` and `category_name` may contain labels.
_TEXT_SUFFIXES = frozenset({
    "code", "id", "ids", "idx", "index", "key", "kind", "name", "no", "nr", "num", "number", "rating", "score", "stars",
    "status", "type", "uid", "uuid",
})  # fmt: skip

_PREFIXES = frozenset({"avg", "count", "has", "is", "max", "mean", "min", "multi", "n", "nb", "num", "total"})

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


def split_name(name: str) -> list[str]:
    """Split a column name into words.

    Args:
        name: The name.

    Returns:
        The words in lower case: `review`, `text` for `reviewText` and `review_text`.
    """
    return [word.casefold() for word in _WORDS.findall(name)]


def find_exact(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Find the columns with a known name.

    Args:
        names: The names of the columns.
        known: The known names, in order of preference.

    Returns:
        The numbers of the columns, in order of preference.
    """
    plain_names = [normalize_name(name) for name in names]
    return [plain_names.index(name) for name in known if name in plain_names]


def find_partial(names: Sequence[str], known: Sequence[str], fits: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Find the columns with a known word in their names.

    Args:
        names: The names of the columns.
        known: The known names.
        fits: Returns True if the values of a column fit its name.

    Returns:
        The numbers of the fitting columns whose last word, or else whose first word, is a known name. Two or more are
        ambiguous.
    """
    parts = set(known) - _WHOLE_NAMES
    words = list(map(split_name, names))
    for position in (-1, 0):
        found = [
            column
            for column, own in enumerate(words)
            if own and own[position] in parts and not _describes(own, position, known) and fits(column)
        ]
        if found:
            return found
    return []


def find_named(names: Sequence[str], known: Sequence[str], fits: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Find the columns with a known name, or else with a known word in their names.

    Args:
        names: The names of the columns.
        known: The known names, in order of preference.
        fits: Returns True if the values of a column fit a name that only contains a known word.

    Returns:
        The numbers of the columns; see `find_exact` and `find_partial`.
    """
    return find_exact(names, known) or find_partial(names, known, fits)


def is_description(name: str, known: Sequence[str]) -> bool:
    """Return True if a name says that the column describes texts or labels, as `text_lang` and `label_count` do.

    Args:
        name: The name.
        known: The known names, of texts or of labels.

    Returns:
        True for a description.
    """
    words = split_name(name)
    return any(words[position] in known and _describes(words, position, known) for position in (-1, 0) if words)


def _describes(words: Sequence[str], position: int, known: Sequence[str]) -> bool:
    if len(words) < 2:
        return False
    if position == -1:
        return words[0] in _PREFIXES
    return words[-1] in _SUFFIXES or (known is TEXT_NAMES and words[-1] in _TEXT_SUFFIXES)


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
