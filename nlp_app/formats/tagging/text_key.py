"""Find the key of the annotated text in the objects of an export, where projects name it as they like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.formats.io.json_objects import json_type
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import RawSpan

DEFAULT_TEXT_KEY = "text"

_SETTING = "name it (setting data.text_key)"


class TextKey:
    """The key of the text in the objects of one file.

    It is the one that the user or the annotation names, else `text`, else one that is found by the values. Once
    found by its values, the key is used for the whole file.
    """

    def __init__(self, name: str, wanted: str, log: ReadLog) -> None:
        """Begin a file.

        Args:
            name: The file's name, for messages.
            wanted: The key that the user names; empty to find it.
            log: Gets a remark about a key that was found.
        """
        self._name, self._log = name, log
        self._wanted = wanted.removeprefix("data.")
        self._found = ""

    def find(self, fields: Mapping[str, Any], spans: Sequence[RawSpan], line: int, named: Sequence[str] = ()) -> str:
        """Find the key of the text in an object.

        Args:
            fields: The object.
            spans: Its spans, which fit the text.
            line: The object's line.
            named: Names that the annotation gives the text.

        Returns:
            A key whose value is a string.

        Raises:
            DataError: The key that the user names has no string, or several keys may be the text. Names the line.
        """
        if not (self._wanted or self._found or named) and isinstance(fields.get(DEFAULT_TEXT_KEY), str):
            return DEFAULT_TEXT_KEY  # nearly all files
        strings = {key: value for key, value in fields.items() if isinstance(value, str)}
        known = [*(name for name in dict.fromkeys(named) if name in strings), self._found, DEFAULT_TEXT_KEY]
        key = self._wanted or next((key for key in known if key in strings), "")
        if not key:
            key = _find_by_values(strings, spans, named)
            self._found = key
        if key not in strings:
            raise DataError(self._reason(fields, strings), self._name, line)
        if key != DEFAULT_TEXT_KEY:
            self._log.remark(f"text: the key {key!r} (setting data.text_key)")
        return key

    def _reason(self, fields: Mapping[str, Any], strings: Mapping[str, str]) -> str:
        keys = ", ".join(map(str, fields)) or "none"
        if self._wanted:
            return f"found no string under the key {self._wanted!r} (keys: {keys}); check data.text_key"
        if (value := fields.get(DEFAULT_TEXT_KEY)) is not None:
            return f"found a `text` that is {json_type(value)} (keys: {keys}), expected a string"
        if strings:
            return f"can't tell which field is the text (strings: {', '.join(strings)}), expected `text`; {_SETTING}"
        return f"found no `text` (keys: {keys}), expected `text` or `tokens`; if the text has another key, {_SETTING}"


def _find_by_values(strings: Mapping[str, str], spans: Sequence[RawSpan], named: Sequence[str]) -> str:
    """Return the only key whose value fits the spans, whose name contains a given one, or that is prose; else empty."""
    fitting = [key for key, value in strings.items() if spans and _fits(value, spans)] or list(strings)
    similar = [key for key in fitting if any(name.lower() in key.lower() for name in named if name)]
    prose = [key for key in fitting if _is_prose(strings[key])]
    return next((keys[0] for keys in (fitting, similar, prose) if len(keys) == 1), "")


def _fits(text: str, spans: Sequence[RawSpan]) -> bool:
    """Return True if all spans with valid offsets are within the text and hold what they quote."""
    for start, end, _, quoted, *_ in spans:
        if type(start) is int and type(end) is int:
            if end > len(text):
                return False
            if isinstance(quoted, str) and text[start:end] not in (quoted, quoted.replace("\\n", "\n")):
                return False
    return True


def _is_prose(value: str) -> bool:
    """Return True for words with spaces between, or in a script without spaces; not for names of files and dates."""
    return len(value.split()) > 1 or any(ord(character) > 0x2E7F for character in value)
