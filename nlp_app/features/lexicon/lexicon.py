"""A lexicon: the words of one or several lists as sorted keys, and their matches in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.features.feature_index import FeatureIndex, Keys, Rows, load_array, mix_bits
from nlp_app.features.lexicon.segmentation import NONE, Costs
from nlp_app.features.lexicon.token_keys import TokenKeys, describe_forms, token_keys
from nlp_app.features.lexicon.word_lists import WordList
from nlp_app.text.vocab import Vocabulary

LONGEST = 8  # tokens of a listed word

_MAX_CLASSES = 1 << 16

_COST_STEPS = 8  # per nat: a cost fits into a byte, up to a frequency of one in 10^13

_KEYS, _CLASSES, _COSTS, _CLASS_NAMES = "lexicon.npy", "lexicon_classes.npy", "lexicon_costs.npy", "lexicon_classes.txt"


class Matches(NamedTuple):
    """Listed words in sentences, sorted by their number of tokens.

    Attributes:
        starts: (matches,) first token of each match.
        sizes: (matches,) number of tokens.
        rows: (matches,) row of the word, from 1.
    """

    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    rows: Rows


class Lexicon:
    """Words of lists.

    Attributes:
        index: The keys of the words; a word's row is its place in them, from 1.
        classes: (words,) class of each word.
        costs: (words,) negative log of the relative frequency of each word, in steps of 1/8.
        class_names: The names of the classes.
        class_of_row: (1 + words,) class of the word of each row, from 1; 0 for row 0.
        unlisted_cost: Cost of a token that is not listed alone.
    """

    def __init__(
        self,
        index: FeatureIndex,
        classes: NDArray[np.unsignedinteger],
        costs: NDArray[np.uint8],
        class_names: Vocabulary,
    ) -> None:
        self.index, self.classes, self.costs, self.class_names = index, classes, costs, class_names
        self.class_of_row = np.append(np.int32(0), classes.astype(np.int32) + 1)
        self._costs = np.append(np.int32(NONE), costs.astype(np.int32))
        self.unlisted_cost = int(costs.max(initial=0))

    @classmethod
    def build(
        cls, lists: Sequence[WordList], norms: Callable[[Sequence[str]], tuple[list[str], list[int]]]
    ) -> tuple[Lexicon, int]:
        """Combine lists of words. A word with several classes gets a class for their combination.

        If a list with frequencies has a word several times, its most frequent class counts.

        Args:
            lists: The lists.
            norms: Returns the normal forms of many words' tokens, concatenated, and the number of tokens of each word.

        Returns:
            The lexicon, and the number of words that were skipped because they have more than LONGEST tokens, or none.

        Raises:
            SettingsError: There are too many combinations of classes, or no words.
        """
        words = [word for each in lists for word in each.words]
        forms, sizes = norms(words)
        keys = _keys_of_words(forms, np.array(sizes, dtype=np.intp))
        kept = np.flatnonzero(keys)
        if not len(kept):
            raise SettingsError(f"model.lexicon: found no word of at most {LONGEST} tokens; choose another list")
        names = sorted({name for each in lists for name in each.classes})
        number = {name: place for place, name in enumerate(names)}
        classes = np.array([number[name] for each in lists for name in each.classes], dtype=np.int64)[kept]
        frequencies = np.array([max(f, 1) for each in lists for f in each.frequencies], dtype=np.int64)[kept]
        list_of = np.repeat(np.arange(len(lists)), [len(each.words) for each in lists])[kept]
        order = np.lexsort((-frequencies, list_of, keys[kept]))
        keys, classes, frequencies, list_of = keys[kept][order], classes[order], frequencies[order], list_of[order]
        is_first = np.append(True, keys[1:] != keys[:-1])
        first = np.flatnonzero(is_first)
        top = np.flatnonzero(is_first | np.append(True, list_of[1:] != list_of[:-1]))  # of each list with the word
        is_top = frequencies == np.repeat(frequencies[top], np.diff(top, append=len(keys)))
        joined = [_join(names, group) for group in _groups(classes[is_top], np.cumsum(is_first)[is_top])]
        class_names = sorted(set(joined))
        if len(class_names) > _MAX_CLASSES:
            raise SettingsError(
                f"model.lexicon: found {len(class_names):,} combinations of classes, expected "
                f"at most {_MAX_CLASSES:,}; combine classes of your list"
            )
        number = {name: place for place, name in enumerate(class_names)}
        kind = np.uint8 if len(class_names) <= 1 << 8 else np.uint16
        totals = np.add.reduceat(frequencies, first)
        return cls(
            FeatureIndex(keys[first]),
            np.array([number[name] for name in joined], dtype=kind),
            _costs_of(totals),
            Vocabulary(class_names),
        ), len(words) - len(kept)

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.classes)

    def match(self, tokens: TokenKeys, lengths: Sequence[int]) -> Matches:
        """Find all listed words of up to LONGEST tokens.

        Args:
            tokens: Keys of the tokens of all sentences, concatenated.
            lengths: Number of tokens of each sentence.

        Returns:
            The matches.
        """
        starts, keys = zip(*_sequence_keys(tokens, np.asarray(lengths, dtype=np.intp)), strict=True)
        rows = self.index.rows(np.concatenate(keys))
        hits = np.flatnonzero(rows)
        sizes = np.repeat(np.arange(1, len(keys) + 1), [len(each) for each in keys])
        return Matches(np.concatenate(starts)[hits], sizes[hits], rows[hits])

    def costs_of(self, matches: Matches, size: int) -> Costs:
        """Lay out the costs of matches for `segment`.

        Args:
            matches: The matches.
            size: Number of tokens of all sentences.

        Returns:
            (LONGEST, tokens) cost of the word of each size that begins at a token.
        """
        costs = np.full((LONGEST, size), NONE, dtype=np.int32)
        costs[0] = self.unlisted_cost
        costs[matches.sizes - 1, matches.starts] = self._costs[matches.rows]
        return costs

    def save(self, directory: Path) -> None:
        """Save the words' keys, classes and costs as arrays, and the names of the classes as text.

        Args:
            directory: Directory to write to.
        """
        np.save(directory / _KEYS, self.index.keys, allow_pickle=False)
        np.save(directory / _CLASSES, self.classes, allow_pickle=False)
        np.save(directory / _COSTS, self.costs, allow_pickle=False)
        self.class_names.save(directory / _CLASS_NAMES)

    @classmethod
    def load(cls, directory: Path) -> Lexicon | None:
        """Load a lexicon that `save` wrote.

        Args:
            directory: Directory to read from.

        Returns:
            The lexicon; None if the directory has none.

        Raises:
            ModelError: A file cannot be read, or does not match the others.
        """
        if not (directory / _KEYS).is_file():
            return None
        keys, classes, costs = (load_array(directory / name) for name in (_KEYS, _CLASSES, _COSTS))
        class_names = Vocabulary.load(directory / _CLASS_NAMES)
        known = int(classes.min(initial=0)) >= 0 and int(classes.max(initial=0)) < len(class_names.symbols)
        if not len(keys) == len(classes) == len(costs) > 0 or not known:
            raise ModelError(f"{directory}: the files of the lexicon don't fit together; copy the model again")
        kind = np.uint8 if len(class_names.symbols) <= 1 << 8 else np.uint16
        return cls(FeatureIndex(keys.astype(np.uint64)), classes.astype(kind), costs.astype(np.uint8), class_names)


def _sequence_keys(tokens: TokenKeys, lengths: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Keys]]:
    """Iterate over sizes from 1: starts of the sequences of that many tokens inside a sentence, and their keys."""
    n = len(tokens.keys)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(n)  # tokens to the end of the sentence
    starts, keys = np.arange(n), tokens.keys
    for size in range(1, LONGEST + 1):
        if size > 1:
            inside = left[starts] >= size
            starts, keys = starts[inside], keys[inside]
            last = starts + (size - 1)
            keys = keys * tokens.factors[last] + tokens.terms[last]
        yield starts, np.maximum(mix_bits(keys), np.uint64(1))  # NO_KEY (0) is reserved


def _keys_of_words(forms: Sequence[str], sizes: NDArray[np.intp]) -> Keys:
    """Compute the key of each word from the normal forms of its tokens; 0 for words that are too long or empty."""
    distinct = {form: number for number, form in enumerate(dict.fromkeys(forms))}
    table = describe_forms(list(distinct), list(distinct))
    tokens = token_keys(table[np.fromiter(map(distinct.__getitem__, forms), np.intp, len(forms))])
    keys = np.zeros(len(sizes), dtype=np.uint64)
    first = np.cumsum(sizes) - sizes
    word_of = np.repeat(np.arange(len(sizes)), sizes)
    for size, (starts, found) in enumerate(_sequence_keys(tokens, sizes), start=1):
        whole = (first[word_of[starts]] == starts) & (sizes[word_of[starts]] == size)
        keys[word_of[starts[whole]]] = found[whole]
    return keys


def _groups(values: NDArray[np.int64], groups: NDArray[np.intp]) -> Iterator[list[int]]:
    """Split values where their group changes."""
    bounds = np.flatnonzero(np.diff(groups, prepend=-1, append=-1)).tolist()
    numbers = values.tolist()
    return (numbers[start:end] for start, end in pairwise(bounds))


def _join(names: Sequence[str], classes: Sequence[int]) -> str:
    return "+".join(names[number] for number in sorted(set(classes)))


def _costs_of(frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
    nats = np.log(frequencies.sum() + 1) - np.log(frequencies)  # above 0 for a lexicon of one word, too
    costs: NDArray[np.uint8] = np.minimum(np.ceil(nats * _COST_STEPS), 255).astype(np.uint8)
    return costs
