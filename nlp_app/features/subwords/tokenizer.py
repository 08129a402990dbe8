"""Pieces of tokens and texts: the fast tokenizer of a pretrained model, for tokens that are ours.

A pretrained model knows pieces of words. Ours are the tokens, so each is given to the model's tokenizer by itself, as
it stands in the text and without the model's special pieces. Tokenizers that mark the space before a word (byte-level
BPE, SentencePiece) have to be told of it: "word" and " word" are other pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from nlp_app.core.errors import ModelError

Pieces = NDArray[np.int32]

_MOST_CACHED = 1 << 18  # forms, of which each is short

_LONGEST_CACHED = 64  # characters

_CHUNK = 1024  # texts or forms given to the backend at a time: its answers take much more memory than the pieces

_HIGHEST_ID = 1 << 24

_SPACES = "▁Ġ"  # how SentencePiece and byte-level BPE write a space

_PROBES = 1000

_CAPITALS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z The In Of And For Paris"

_INDIVISIBLE = "tokenizer.json: found a text that the tokenizer can't divide into pieces"

Answer = TypeVar("Answer")


class SubwordTokenizer:
    """A pretrained model's fast tokenizer, for tokens and for whole texts; safe under threads.

    prefix, suffix: ids of the special pieces that the model wants around a sequence ([CLS] and [SEP], say)
    spaced_start: whether the first word of a text is written as if a space stood before it
    size: one more than the greatest id
    unknown: the id that stands for what has no piece (None: there is no such id); padding: the id that fills batches
    """

    def __init__(self, backend: Tokenizer, unknown: int | None, padding: int) -> None:
        """backend: changed once (no truncation, no padding) and in use from now on; don't change it elsewhere. Raises
        ModelError if it makes no pieces."""
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._joined = _without_prefix(backend)
        self.spaced_start = self._joined is not backend
        self.unknown, self.padding = unknown, padding
        vocabulary = backend.get_vocab()
        self.size = max(vocabulary.values(), default=-1) + 1
        self._spaces = [vocabulary[space] for space in _SPACES if space in vocabulary]
        self.prefix, self.suffix = _specials(backend, vocabulary)
        self._cache: dict[tuple[str, bool], Pieces] = {}

    @classmethod
    def from_json(cls, text: str, unknown_token: str | None, padding_token: str | None) -> SubwordTokenizer:
        """The tokenizer of a `tokenizer.json`. Without a padding token, padding is 0: the attention mask hides it.

        Raises ModelError if the text is no tokenizer, or a token isn't in it.
        """
        check_ids(text)
        backend = _answer(
            lambda: Tokenizer.from_str(text), "tokenizer.json: found no tokenizer of the library tokenizers"
        )
        ids = [_id(backend, token, kind) for token, kind in ((unknown_token, "unknown"), (padding_token, "padding"))]
        return cls(backend, ids[0], ids[1] or 0)

    @cached_property
    def uncased(self) -> bool:
        """Whether capitals are lost: it makes the same pieces of them as of small letters."""
        cased, lower = self.text_pieces([_CAPITALS, _CAPITALS.lower()])
        return np.array_equal(cased, lower)

    def whole_words(self) -> dict[str, int]:
        """The words that are a piece each where they stand between spaces, and that piece."""
        written = {piece.lstrip(_SPACES) for piece in self._backend.get_vocab()}
        words = sorted(word for word in written if word.isalpha())
        pieces = self.token_pieces(words, [True] * len(words))
        alone = zip(words, pieces, strict=True)
        return {word: int(ids[0]) for word, ids in alone if len(ids) == 1 and ids[0] != self.unknown}

    def json(self) -> str:
        """What `of_json` reads: `tokenizer.json`, without truncation and padding."""
        return self._backend.to_str()

    def token_pieces(self, forms: Sequence[str], spaced: Sequence[bool]) -> list[Pieces]:
        """The pieces of each token, at least one, without specials.

        forms: the tokens as they stand in their text; spaced: whether a space stands before each, `spaced_start` for
        the first of a text. A piece for this space alone is left out, and a form without pieces is the unknown one.
        Don't change the arrays: tokens of one form share theirs. Raises ModelError for a form without pieces if there
        is no unknown piece.
        """
        cache = self._cache
        keys = list(zip(forms, spaced, strict=True))
        found = list(map(cache.get, keys))
        missing = dict.fromkeys(key for key, pieces in zip(keys, found, strict=True) if pieces is None)
        if missing:
            new = self._encode(list(missing))
            self._remember({key: pieces for key, pieces in new.items() if len(key[0]) <= _LONGEST_CACHED})
            found = [new[key] if pieces is None else pieces for key, pieces in zip(keys, found, strict=True)]
        return found  # type: ignore[return-value]  # no None is left

    def text_pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """The pieces of each whole text, without specials; none where the tokenizer finds none."""
        return _batch(self._backend, texts)

    def _remember(self, new: dict[tuple[str, bool], Pieces]) -> None:
        # Other threads read and write too; one that holds the old dictionary only encodes a form again.
        if len(self._cache) + len(new) > _MOST_CACHED:
            self._cache = {}
        if len(new) <= _MOST_CACHED:
            self._cache.update(new)

    def _encode(self, keys: Sequence[tuple[str, bool]]) -> dict[tuple[str, bool], Pieces]:
        """The pieces of forms that are not in the cache."""
        # Where the backend itself writes a space before a text, a form alone has it; a second one would be too many.
        space = "" if self.spaced_start else " "
        apart = [key for key in keys if key[1]]
        joined = [key for key in keys if not key[1]]
        pieces = _batch(self._backend, [space + form for form, _ in apart])
        pieces += _batch(self._joined, [form for form, _ in joined])
        return {key: self._settled(key[0], ids) for key, ids in zip(apart + joined, pieces, strict=True)}

    def _settled(self, form: str, ids: Pieces) -> Pieces:
        """Without a first piece that is only the space before the form; never empty."""
        if len(ids) > 1 and ids[0] in self._spaces and form[:1] not in _SPACES:
            ids = ids[1:].copy()
        elif not len(ids):
            if self.unknown is None:
                raise ModelError(
                    f"tokenizer.json: found no piece for {form[:20]!r} and no unknown token, expected either; "
                    "use a model whose tokenizer has an unknown token"
                )
            ids = np.array([self.unknown], dtype=np.int32)
        ids.flags.writeable = False
        return ids


def check_ids(text: str) -> None:
    """Refuse ids of pieces so high that the library, which has lists as long, would take all memory. Raises
    ModelError."""
    try:
        described = json.loads(text)
        vocabulary = described["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
        ids += [token["id"] for token in described.get("added_tokens") or ()]
        highest = max((number for number in ids if isinstance(number, int)), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # something else is wrong with it, which the library will say
    if highest > _HIGHEST_ID:
        raise ModelError(
            f"tokenizer.json: found a piece with the id {highest}, expected {_HIGHEST_ID} at most; get the model's "
            "files again"
        )


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up. Such an error is no Exception, and its class can't be imported."""
    return type(error).__name__ == "PanicException"


def _answer(ask: Callable[[], Answer], problem: str) -> Answer:
    """What the library tokenizers answers. It raises plain exceptions, whatever is wrong."""
    try:
        return ask()
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())
        raise ModelError(f"{problem} ({reason}); get the model's files again") from error


def _batch(backend: Tokenizer, texts: Sequence[str]) -> list[Pieces]:
    pieces: list[Pieces] = []
    for start in range(0, len(texts), _CHUNK):
        chunk = [_whole_characters(text) for text in texts[start : start + _CHUNK]]
        encodings = _answer(partial(backend.encode_batch_fast, chunk, add_special_tokens=False), _INDIVISIBLE)
        pieces.extend(np.array(encoding.ids, dtype=np.int32) for encoding in encodings)
    return pieces


def _whole_characters(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which the backend can't read."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _id(backend: Tokenizer, token: str | None, kind: str) -> int | None:
    if token is None:
        return None
    number = backend.token_to_id(token)
    if number is None:
        raise ModelError(
            f"tokenizer.json: found no {token!r}, expected the {kind} token that tokenizer_config.json names; "
            "get the model's files again"
        )
    return number


def _specials(backend: Tokenizer, vocabulary: dict[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special pieces before and after a single sequence, from what the backend makes of some text."""
    if not backend.num_special_tokens_to_add(False):
        return (), ()
    for probe in ("a", *islice(vocabulary, _PROBES)):
        encoding = _answer(partial(backend.encode, probe), _INDIVISIBLE)
        mask = encoding.special_tokens_mask
        if 0 in mask:
            first, last = mask.index(0), len(mask) - mask[::-1].index(0)
            return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])
    raise ModelError("tokenizer.json: found no text that it divides into pieces; get the model's files again")


def _without_prefix(backend: Tokenizer) -> Tokenizer:
    """The same tokenizer without a space of its own before a text, or `backend` itself if it writes none."""
    # Normalizer and pre-tokenizer are read from the JSON of a tokenizer without words: a vocabulary can be large.
    shell = Tokenizer(WordLevel({}, unk_token=""))
    if backend.normalizer is not None:
        shell.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        shell.pre_tokenizer = backend.pre_tokenizer
    description = json.loads(shell.to_str())
    edited = {name: _unprefixed(description[name]) for name in ("normalizer", "pre_tokenizer")}
    if edited.items() <= description.items():
        return backend
    joined = Tokenizer.from_str(json.dumps(description | edited))
    joined.model = backend.model  # shared, not copied
    added = backend.get_added_tokens_decoder()
    joined.add_tokens([token for _, token in sorted(added.items())])
    if all(joined.token_to_id(token.content) == number for number, token in added.items()):
        return joined
    # Where ids have gaps, only the whole JSON gives the added tokens theirs.
    return Tokenizer.from_str(json.dumps(json.loads(backend.to_str()) | edited))


def _unprefixed(part: Any) -> Any:
    """A normalizer or pre-tokenizer, as JSON, without what writes a space before a text."""
    if isinstance(part, list):
        return [kept for kept in map(_unprefixed, part) if kept is not None]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "Prepend":
        return None
    if kind == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if kind == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return {name: _unprefixed(value) for name, value in part.items()}
