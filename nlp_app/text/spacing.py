"""Rules for spaces between tokens, by script and punctuation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

# Scripts written without spaces between words, with their punctuation and full-width forms. Hangul is not included:
# Korean separates words. East Asian width is no criterion: emoji are wide too, and occur in texts of any script.
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
    (0x20000, 0x323AF),  # extensions B and later
)

# Scripts in which a word of a dictionary is not set off by spaces, although some of them write spaces: between phrases
# in Thai, after a word with its particles in Korean.
_WITHOUT_WORDS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul letters
    (0x1780, 0x17FF),  # Khmer
    (0x3130, 0x318F),  # Hangul letters
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),  # Hangul syllables
)

_ATTACHED = frozenset(",.;:!?%)]}'\u2019\u2026")  # written without a space after the previous word

_OPENING = frozenset("([{")

_UNSPACED_STARTS = [first for first, _ in _UNSPACED]


def is_unspaced(character: str) -> bool:
    """Check for a character of Chinese or Japanese writing, which has no spaces between words.

    Args:
        character: One character.

    Returns:
        True for ideographs, kana, bopomofo, and their punctuation and full-width forms.
    """
    code = ord(character)
    row = bisect_right(_UNSPACED_STARTS, code) - 1
    return row >= 0 and code <= _UNSPACED[row][1]


def has_visible_words(letter: str) -> bool:
    """Check for a letter of a script in which spaces show where words begin and end.

    Args:
        letter: One character.

    Returns:
        False for Chinese, Japanese, Korean, Thai, Lao, Tibetan, Burmese and Khmer.
    """
    code = ord(letter)
    return not (is_unspaced(letter) or any(first <= code <= last for first, last in _WITHOUT_WORDS))


def between_words(left: str, right: str) -> bool:
    """Check if a space separates two tokens, by script.

    Args:
        left: A token; not empty.
        right: The next token; not empty.

    Returns:
        False next to a Chinese or Japanese character, otherwise True.
    """
    return not (is_unspaced(left[-1]) or is_unspaced(right[0]))


def between_written_words(left: str, right: str) -> bool:
    """Check if a space separates two tokens, by script and punctuation.

    Like `between_words`, but punctuation is attached as people write it: no space after "(", before ")" or before
    "n't".

    Args:
        left: A token; not empty.
        right: The next token; not empty.

    Returns:
        True if a space separates them.
    """
    if right[0] in _ATTACHED or right == "n't" or left[-1] in _OPENING:
        return False
    return between_words(left, right)


def no_spaces(left: str, right: str) -> bool:
    """Never put a space between tokens, for corpora whose tokens are characters.

    Args:
        left: A token; not empty.
        right: The next token; not empty.

    Returns:
        False.
    """
    return False


def join_tokens(
    tokens: Sequence[str], space: Callable[[str, str], bool] = between_words
) -> tuple[str, list[int], list[int]]:
    """Build a text from tokens whose original text is unknown.

    Tokens that contain spaces stay whole: the offsets separate the tokens, not the spaces.

    Args:
        tokens: The tokens; none is empty.
        space: Decides for a token and the next one if a space is put between them.

    Returns:
        The text, and the starts and ends of the tokens in it: `text[start:end] == token`.
    """
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for index, token in enumerate(tokens):
        if index and space(tokens[index - 1], token):
            parts.append(" ")
            position += 1
        starts.append(position)
        parts.append(token)
        position += len(token)
        ends.append(position)
    return "".join(parts), starts, ends
