"""BERT's basic tokenization, step by step as its specification words it: plain, slow, and the judge of ours.

`tokenize` rewrites strings, as the original does. `tokens_of` takes the same steps on pairs (character, place
in the raw text), so that it can also say where each token comes from.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

Placed = tuple[str, int]


def is_whitespace(char: str) -> bool:
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def is_control(char: str) -> bool:
    return char not in "\t\n\r" and unicodedata.category(char) in {"Cc", "Cf"}


def is_removed(char: str) -> bool:
    return ord(char) in (0, 0xFFFD) or is_control(char)


def is_punctuation(char: str) -> bool:
    point = ord(char)
    ascii_sign = 33 <= point <= 47 or 58 <= point <= 64 or 91 <= point <= 96 or 123 <= point <= 126
    return ascii_sign or unicodedata.category(char)[0] == "P"


def is_chinese(char: str) -> bool:
    point = ord(char)
    return (
        0x4E00 <= point <= 0x9FFF
        or 0x3400 <= point <= 0x4DBF
        or 0x20000 <= point <= 0x2A6DF
        or 0x2A700 <= point <= 0x2B73F
        or 0x2B740 <= point <= 0x2B81F
        or 0x2B820 <= point <= 0x2CEAF
        or 0xF900 <= point <= 0xFAFF
        or 0x2F800 <= point <= 0x2FA1F
    )


@lru_cache(maxsize=1 << 16)
def kind(char: str) -> str:
    if is_removed(char):
        return "removed"
    if is_whitespace(char) or char.isspace():  # the line and paragraph separators are split at, too
        return "space"
    return "chinese" if is_chinese(char) else "other"


def combining_class(pair: Placed) -> int:
    return unicodedata.combining(pair[0])


def decompose(placed: list[Placed]) -> list[Placed]:
    """NFD: each character's own decomposition, then runs of marks in the order of their combining classes."""
    ordered: list[Placed] = []
    marks: list[Placed] = []
    for char, place in placed:
        for piece in unicodedata.normalize("NFD", char):
            if unicodedata.combining(piece):
                marks.append((piece, place))
                continue
            ordered += [*sorted(marks, key=combining_class), (piece, place)]
            marks.clear()
    ordered += sorted(marks, key=combining_class)
    whole = unicodedata.normalize("NFD", "".join(char for char, _ in placed))
    assert "".join(piece for piece, _ in ordered) == whole
    return ordered


def lower(placed: list[Placed]) -> list[Placed]:
    """Lower-casing of the word as a whole; each character's part of it is as long as the character's own."""
    lowered = iter("".join(char for char, _ in placed).lower())
    return [(next(lowered), place) for char, place in placed for _ in char.lower()]


def words_of(text: str) -> list[list[Placed]]:
    """Cleaned, with ideographs set apart, split at whitespace."""
    words: list[list[Placed]] = [[]]
    for place, char in enumerate(text):
        match kind(char):
            case "space":
                words.append([])
            case "chinese":
                words += [[(char, place)], []]
            case "other":
                words[-1].append((char, place))
    return [word for word in words if word]


def tokenize(text: str, do_lower_case: bool = True) -> list[str]:
    """Each token's normal form."""
    kinds = [kind(char) for char in text]
    spread = {"removed": "", "space": " ", "chinese": " {} ", "other": "{}"}
    text = "".join(spread[kind].format(char) for kind, char in zip(kinds, text, strict=True))
    result = []
    for word in text.split():
        if do_lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(char for char in word if unicodedata.category(char) != "Mn")
        result += "".join(f" {char} " if is_punctuation(char) else char for char in word).split()
    return result


def tokens_of(text: str, do_lower_case: bool = True) -> list[tuple[str, int, int]]:
    """Each token's normal form, start and end."""
    result = []
    for word in words_of(text):
        if do_lower_case:
            word = [pair for pair in decompose(lower(word)) if unicodedata.category(pair[0]) != "Mn"]
        pieces: list[list[Placed]] = []
        in_piece = False
        for pair in word:
            if is_punctuation(pair[0]):
                pieces.append([pair])
                in_piece = False
            elif in_piece:
                pieces[-1].append(pair)
            else:
                pieces.append([pair])
                in_piece = True
        for piece in pieces:
            places = [place for _, place in piece]
            end = _end(text, max(places), do_lower_case)
            result.append(("".join(char for char, _ in piece), min(places), end))
    return result


def _end(text: str, last: int, do_lower_case: bool) -> int:
    """Past the last character that counts, and past the stripped marks that follow it."""
    end = last + 1
    for place in range(last + 1, len(text)) if do_lower_case else ():
        char = text[place]
        if kind(char) == "removed":
            continue
        if any(unicodedata.category(piece) != "Mn" for piece in unicodedata.normalize("NFD", char)):
            break
        end = place + 1
    return end
