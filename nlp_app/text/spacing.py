"""Rules for spaces between tokens, by script and punctuation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

# Scripts written without spaces between words, with their punctuation and full-width forms. Hangul is not
# among them: Korean separates words. Emoji are wide but stand among words of any script, so width is no
# guide.
_UNSPACED = (
    (0x2E80, 0x2FDF),  # CJK and Kangxi radicals
    (0x2FF0, 0x312F),  # description characters, CJK punctuation, kana, bopomofo
    (0x31A0, 0x31FF),  # bopomofo extended, strokes, kana extensions
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFE30, 0xFE4F),  # vertical punctuation
    (0xFF01, 0xFF9F),  # full-width forms, half-width kana
    (0xFFE0, 0xFFE6),
    (0x20000, 0x323AF),  # the extensions B and after
)

_ATTACHED = frozenset(",.;:!?%)]}'\u2019\u2026")  # to the word before

_OPENING = frozenset("([{")

_UNSPACED_STARTS = [first for first, _ in _UNSPACED]


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to Chinese or Japanese writing, which puts no spaces between words."""
    code = ord(character)
    row = bisect_right(_UNSPACED_STARTS, code) - 1
    return row >= 0 and code <= _UNSPACED[row][1]


def between_words(left: str, right: str) -> bool:
    """Whether a space stands between two tokens: not beside a Chinese or Japanese character."""
    return not (is_unspaced(left[-1]) or is_unspaced(right[0]))


def between_written_words(left: str, right: str) -> bool:
    """As `between_words`, and with punctuation where people write it: `"("` and `")"` closed, `"n't"`
    joined."""
    if right[0] in _ATTACHED or right == "n't" or left[-1] in _OPENING:
        return False
    return between_words(left, right)


def no_spaces(left: str, right: str) -> bool:
    """No space between any two tokens: those of corpora whose tokens are characters."""
    return False


def join_tokens(
    tokens: Sequence[str], space: Callable[[str, str], bool] = between_words
) -> tuple[str, list[int], list[int]]:
    """A text for tokens whose raw text is lost, with each token's offsets in it: `text[start:end] == token`.

    `space` decides for neighboring tokens, which are not empty, whether a space stands between them. Tokens
    that contain spaces stay whole: offsets, not spaces, divide the text.
    """
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for index, token in enumerate(tokens):
        if index and space(tokens[index - 1], token):
            pieces.append(" ")
            position += 1
        starts.append(position)
        pieces.append(token)
        position += len(token)
        ends.append(position)
    return "".join(pieces), starts, ends
