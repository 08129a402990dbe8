"""Subwords of tokens and texts, from the fast tokenizer of a pretrained model.

A pretrained model reads subwords. To get the subwords of each of our tokens, each token is passed to the model's
tokenizer by itself, as written in the text and without special subwords. Tokenizers that mark the space before a word
(byte-level BPE, SentencePiece) need to know if a space precedes the token: "word" and " word" have different subwords.
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

from nlp_app.core.errors import ModelError, is_panic

SubwordIds = NDArray[np.int32]

_MAX_CACHED_FORMS = 1 << 18  # forms in the cache

_MAX_CACHED_LENGTH = 64  # characters of a cached form

_CHUNK = 1024  # texts or forms per call of the backend: its results need much more memory than the ids

_HIGHEST_ID = 1 << 24  # highest id that is accepted; see check_ids

_SPACES = "▁Ġ"  # the space marks of SentencePiece and byte-level BPE

_PROBES = 1000  # texts that are tried to find the special subwords

_CAPITALS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z The In Of And For Paris"

_CANNOT_SPLIT = "tokenizer.json: the tokenizer cannot split a text into subwords"

Result = TypeVar("Result")


class SubwordTokenizer:
    """The fast tokenizer of a pretrained model, for single tokens and for whole texts. Threads may share it.

    Args:
        backend: The tokenizer of the library tokenizers. Its truncation and padding are switched off; don't change it
            later.
        unknown: Id of the unknown subword. None: the model has no unknown subword.
        padding: Id that fills batches.

    Attributes:
        prefix: Ids of the special subwords before a sequence, for example [CLS].
        suffix: Ids of the special subwords after a sequence, for example [SEP].
        spaced_start: True if the first word of a text is treated as if a space preceded it.
        size: Highest id plus one.
        unknown: Id of the unknown subword, or None.
        padding: Id that fills batches.

    Raises:
        ModelError: The tokenizer produces no subwords.
    """

    def __init__(self, backend: Tokenizer, unknown: int | None, padding: int) -> None:
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
        self._cache: dict[tuple[str, bool], SubwordIds] = {}

    @classmethod
    def from_json(cls, text: str, unknown_token: str | None, padding_token: str | None) -> SubwordTokenizer:
        """Load the tokenizer of a `tokenizer.json`.

        Args:
            text: Contents of the file.
            unknown_token: The unknown token. None: the model has no unknown token.
            padding_token: The padding token. None: padding has id 0, which the attention mask hides.

        Returns:
            The tokenizer.

        Raises:
            ModelError: The text is not a tokenizer, or lacks one of the tokens.
        """
        check_ids(text)
        backend = _call_backend(
            lambda: Tokenizer.from_str(text), "tokenizer.json: found no tokenizer of the library tokenizers"
        )
        ids = [_id(backend, token, kind) for token, kind in ((unknown_token, "unknown"), (padding_token, "padding"))]
        return cls(backend, ids[0], ids[1] or 0)

    @cached_property
    def uncased(self) -> bool:
        """True if the tokenizer ignores case: capitals have the same subwords as lowercase letters."""
        cased, lower = self.text_subwords([_CAPITALS, _CAPITALS.lower()])
        return np.array_equal(cased, lower)

    def whole_words(self) -> dict[str, int]:
        """List the words that are a single subword between spaces.

        Returns:
            Each word with the id of its subword.
        """
        candidates = {subword.lstrip(_SPACES) for subword in self._backend.get_vocab()}
        words = sorted(word for word in candidates if word.isalpha())
        subwords = self.token_subwords(words, [True] * len(words))
        pairs = zip(words, subwords, strict=True)
        return {word: int(ids[0]) for word, ids in pairs if len(ids) == 1 and ids[0] != self.unknown}

    def json(self) -> str:
        """Export the tokenizer, for `from_json`.

        Returns:
            Contents of a `tokenizer.json`, without truncation and padding.
        """
        return self._backend.to_str()

    def token_subwords(self, forms: Sequence[str], spaced: Sequence[bool]) -> list[SubwordIds]:
        """Split tokens into subwords, each token by itself and without special subwords.

        A subword that stands only for the space before a token is left out. A token without subwords gets the unknown
        subword. Don't modify the arrays: equal tokens share them.

        Args:
            forms: The tokens as written in the text.
            spaced: For each token, True if a space precedes it; `spaced_start` for the first token of a text.

        Returns:
            Ids of each token's subwords, at least one.

        Raises:
            ModelError: A token has no subwords, and there is no unknown subword.
        """
        cache = self._cache
        keys = list(zip(forms, spaced, strict=True))
        cached = list(map(cache.get, keys))
        missing = dict.fromkeys(key for key, ids in zip(keys, cached, strict=True) if ids is None)
        if missing:
            new = self._encode(list(missing))
            self._add_to_cache({key: ids for key, ids in new.items() if len(key[0]) <= _MAX_CACHED_LENGTH})
            cached = [new[key] if ids is None else ids for key, ids in zip(keys, cached, strict=True)]
        return cached  # type: ignore[return-value]  # it contains no None any more

    def text_subwords(self, texts: Sequence[str]) -> list[SubwordIds]:
        """Split whole texts into subwords, without special subwords.

        Args:
            texts: The texts.

        Returns:
            Ids of each text's subwords, possibly none.

        Raises:
            ModelError: The tokenizer cannot split a text.
        """
        return _encode_batch(self._backend, texts)

    def _add_to_cache(self, new: dict[tuple[str, bool], SubwordIds]) -> None:
        # Other threads read and write at the same time; one that uses the old dictionary only encodes some forms again.
        if len(self._cache) + len(new) > _MAX_CACHED_FORMS:
            self._cache = {}
        if len(new) <= _MAX_CACHED_FORMS:
            self._cache.update(new)

    def _encode(self, keys: Sequence[tuple[str, bool]]) -> dict[tuple[str, bool], SubwordIds]:
        """Split forms that are not in the cache into subwords."""
        # Some backends put a space before each text themselves; don't add a second one.
        space = "" if self.spaced_start else " "
        spaced = [key for key in keys if key[1]]
        joined = [key for key in keys if not key[1]]
        subwords = _encode_batch(self._backend, [space + form for form, _ in spaced])
        subwords += _encode_batch(self._joined, [form for form, _ in joined])
        return {key: self._without_space(key[0], ids) for key, ids in zip(spaced + joined, subwords, strict=True)}

    def _without_space(self, form: str, ids: SubwordIds) -> SubwordIds:
        """Remove a first subword that is only the space before the form; use the unknown subword if there are none."""
        if len(ids) > 1 and ids[0] in self._spaces and form[:1] not in _SPACES:
            ids = ids[1:].copy()
        elif not len(ids):
            if self.unknown is None:
                raise ModelError(
                    f"tokenizer.json: found no subwords for {form[:20]!r} and no unknown token; "
                    "use a model whose tokenizer has an unknown token"
                )
            ids = np.array([self.unknown], dtype=np.int32)
        ids.flags.writeable = False
        return ids


def check_ids(text: str) -> None:
    """Reject a tokenizer with very high ids: the library would allocate lists of that length.

    Args:
        text: Contents of a `tokenizer.json`.

    Raises:
        ModelError: An id is too high.
    """
    try:
        described = json.loads(text)
        vocabulary = described["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
        ids += [token["id"] for token in described.get("added_tokens") or ()]
        highest = max((number for number in ids if isinstance(number, int)), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # the library reports all other errors
    if highest > _HIGHEST_ID:
        raise ModelError(
            f"tokenizer.json: found a subword with the id {highest}, expected at most {_HIGHEST_ID}; download the "
            "model's files again"
        )


def _call_backend(call: Callable[[], Result], problem: str) -> Result:
    """Call the library tokenizers; it raises plain exceptions for all errors."""
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())
        raise ModelError(f"{problem} ({reason}); download the model's files again") from error


def _encode_batch(backend: Tokenizer, texts: Sequence[str]) -> list[SubwordIds]:
    subwords: list[SubwordIds] = []
    for start in range(0, len(texts), _CHUNK):
        chunk = [_replace_surrogates(text) for text in texts[start : start + _CHUNK]]
        encodings = _call_backend(partial(backend.encode_batch_fast, chunk, add_special_tokens=False), _CANNOT_SPLIT)
        subwords.extend(np.array(encoding.ids, dtype=np.int32) for encoding in encodings)
    return subwords


def _replace_surrogates(text: str) -> str:
    """Replace each lone surrogate, which the backend can't read, by a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _id(backend: Tokenizer, token: str | None, kind: str) -> int | None:
    if token is None:
        return None
    number = backend.token_to_id(token)
    if number is None:
        raise ModelError(
            f"tokenizer.json: found no {token!r}, expected the {kind} token of tokenizer_config.json; "
            "download the model's files again"
        )
    return number


def _specials(backend: Tokenizer, vocabulary: dict[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the special subwords before and after a sequence, by encoding a text."""
    if not backend.num_special_tokens_to_add(False):
        return (), ()
    for probe in ("a", *islice(vocabulary, _PROBES)):
        encoding = _call_backend(partial(backend.encode, probe), _CANNOT_SPLIT)
        mask = encoding.special_tokens_mask
        if 0 in mask:
            first, last = mask.index(0), len(mask) - mask[::-1].index(0)
            return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])
    raise ModelError(
        "tokenizer.json: the tokenizer produces no subwords for any text; download the model's files again"
    )


def _without_prefix(backend: Tokenizer) -> Tokenizer:
    """Return a tokenizer that adds no space before a text; `backend` itself if it adds none."""
    # Read normalizer and pre-tokenizer from the JSON of a tokenizer without vocabulary, as a vocabulary can be large.
    shell = Tokenizer(WordLevel({}, unk_token=""))
    if backend.normalizer is not None:
        shell.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        shell.pre_tokenizer = backend.pre_tokenizer
    description = json.loads(shell.to_str())
    edited = {name: _drop_prefix_space(description[name]) for name in ("normalizer", "pre_tokenizer")}
    if edited.items() <= description.items():
        return backend
    joined = Tokenizer.from_str(json.dumps(description | edited))
    joined.model = backend.model  # shared, not copied
    added = backend.get_added_tokens_decoder()
    joined.add_tokens([token for _, token in sorted(added.items())])
    if all(joined.token_to_id(token.content) == number for number, token in added.items()):
        return joined
    # If the ids have gaps, only the complete JSON keeps the ids of added tokens.
    return Tokenizer.from_str(json.dumps(json.loads(backend.to_str()) | edited))


def _drop_prefix_space(part: Any) -> Any:
    """Return a normalizer or pre-tokenizer, as JSON, without the step that adds a space before a text."""
    if isinstance(part, list):
        return [item for item in map(_drop_prefix_space, part) if item is not None]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "Prepend":
        return None
    if kind == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if kind == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return {name: _drop_prefix_space(value) for name, value in part.items()}
